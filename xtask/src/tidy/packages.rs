//! How many packages a lock file may hold: each is code to compile and to trust.

use super::Finding;

/// A lock file over its budget.
pub fn check(file: &str, lock: &str, budget: usize) -> Option<Finding> {
    let locked = lock.lines().filter(|line| *line == "[[package]]").count();
    (locked > budget).then(|| Finding {
        file: file.into(),
        line: 0,
        rule: "package budget",
        what: format!("{locked} packages, at most {budget} are allowed"),
        cure: "do without the newest, or raise the budget in xtask/budget.toml in a commit that says why",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_counted_against_the_budget() {
        let lock = "[[package]]\nname = \"a\"\n\n[[package]]\nname = \"b\"\n";
        assert_eq!(check("Cargo.lock", lock, 2), None);
        assert_eq!(check("Cargo.lock", lock, 1).unwrap().what, "2 packages, at most 1 are allowed");
    }
}
