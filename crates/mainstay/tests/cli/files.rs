//! Commands that need no daemon: the project's files, and everything said about the program itself.

use crate::harness::Project;
use expect_test::expect;

#[test]
fn a_broken_declaration_shows_every_problem_with_place_and_cure() {
    let project = Project::new(&[("compose.yaml", "services:\n  api:\n    imgae: shop\n    ports: [\"x:80\"]\n")]);
    project.run(&["validate"]).expect(
        2,
        expect![""],
        expect![[r#"
              × MS0018: `api` has neither `image` nor `build`
               ╭─[compose.yaml:2:3]
             1 │ services:
             2 │   api:
               ·   ───
             3 │     imgae: shop
               ╰────
              help: write an `image`, a `build`, or `processes.api` in mainstay.yaml

              × MS0010: `imgae` is no known key
               ╭─[compose.yaml:3:5]
             2 │   api:
             3 │     imgae: shop
               ·     ─────
             4 │     ports: ["x:80"]
               ╰────
              help: did you mean `image`?

              × MS0040: `x:80` is no port: a port is a number from 1 to 65535, or a range of them
               ╭─[compose.yaml:4:13]
             3 │     imgae: shop
             4 │     ports: ["x:80"]
               ·             ──────
               ╰────
              help: write `published:target`, for example `"8080:80"`

            ✘ not valid: 3 errors
            next: mend the files; `mainstay explain MS0018` tells more about a code"#]],
    );
}

#[test]
fn diagnostics_as_json_have_lines_and_columns() {
    let project = Project::new(&[("compose.yaml", "services:\n  api: { imgae: shop, build: . }\n")]);
    let verdict = project.run(&["validate", "--json"]).code(2).json();
    assert_eq!(verdict["valid"], false);
    let first = &verdict["diagnostics"][0];
    assert_eq!((first["code"].as_str(), first["severity"].as_str()), (Some("MS0010"), Some("error")));
    assert_eq!((first["labels"][0]["line"].as_u64(), first["labels"][0]["column"].as_u64()), (Some(2), Some(10)));
    assert_eq!(first["labels"][0]["file"], "compose.yaml");
    for words in ["config", "plan", "up"] {
        let error = &project.run(&[words, "--json"]).code(2).json()["error"];
        assert_eq!(&error["diagnostics"][0], first, "{words}");
    }
    assert_eq!(Project::shop().run(&["validate", "--json"]).code(0).json()["valid"], true);
}

#[test]
fn files_that_are_no_yaml_or_not_there_end_without_a_panic() {
    for text in
        ["services: [", "\t", "services: {a: *nowhere}", "\u{0}", "services:\n  a: {image: x}\n  a: {image: y}\n"]
    {
        let ended = Project::new(&[("compose.yaml", text)]).run(&["validate"]).code(2);
        assert!(ended.err.contains("MS00") && !ended.err.contains("panicked"), "{text:?}\n{}", ended.err);
    }
    let project = Project::new(&[]);
    project.run(&["validate"]).code(2);
    project.run(&["-C", "nowhere", "validate"]).expect(
        2,
        expect![""],
        expect![[r#"
            error: the folder DIR/nowhere cannot be opened
              because No such file or directory (os error 2)
              help: name the project's folder with `--directory`"#]],
    );
}

#[test]
fn config_shows_the_compose_part_as_other_tools_read_it() {
    let project = Project::shop();
    project.run(&["config", "--compose"]).code(2);
    let shown = project.run(&["config", "--compose", "--reveal"]).code(0).json();
    assert_eq!(shown["name"], "shop");
    assert_eq!(shown["services"]["db"]["environment"]["POSTGRES_PASSWORD"], "hunter2");
    assert_eq!(shown["services"]["db"]["networks"], serde_json::json!({ "default": null }));
}

#[test]
fn config_masks_values_until_they_are_asked_for() {
    let project = Project::shop();
    let masked = project.run(&["config"]).code(0);
    assert!(!masked.out.contains("hunter2") && masked.out.contains("POSTGRES_PASSWORD"), "{}", masked.out);
    let json = project.run(&["config", "--json"]).code(0);
    assert!(!json.out.contains("hunter2"));
    assert_eq!(json.json()["project"], "shop");
    assert!(project.run(&["config", "--reveal"]).code(0).out.contains("hunter2"));
}

#[test]
fn variables_come_from_the_environment_then_from_named_files() {
    let project = Project::shop();
    project.write("a.env", "LOG_LEVEL=trace\n");
    project.write(".env", "LOG_LEVEL=hidden\n");
    let level = |words: &[&str], set: Option<&str>| {
        let mut command = project.command(words);
        set.map(|value| command.env("LOG_LEVEL", value));
        let ended = project.ended(command.spawn().expect("spawned")).code(0);
        ended.json()["compose"]["services"]["api"]["environment"]["LOG_LEVEL"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(level(&["config", "--reveal", "--json"], None), "hidden");
    assert_eq!(level(&["config", "--reveal", "--json", "--env-file", "a.env"], None), "trace");
    assert_eq!(level(&["config", "--reveal", "--json", "--env-file", "a.env"], Some("warn")), "warn");
}

#[test]
fn the_text_of_environment_files_is_never_shown() {
    let project = Project::shop();
    project.write(".env", "A=1\nPASSWORD=\"hunter2\nOTHER=hunter3\n");
    let ended = project.run(&["validate"]).code(2);
    assert!(ended.err.contains(".env:2:10") && ended.err.contains("`PASSWORD`"), "{}", ended.err);
    assert!(!ended.err.contains("hunter"), "{}", ended.err);
}

#[test]
fn named_environment_files_are_bounded_and_judged() {
    let project = Project::shop();
    assert!(project.run(&["validate", "--env-file", "/dev/zero"]).code(2).err.contains("MS0008"));
    assert!(project.run(&["validate", "--env-file", "nowhere.env"]).code(2).err.contains("MS0008"));
    project.write("a.env", "\u{feff}LOG_LEVEL=trace\nA=\"x\" y\n");
    let shown = project.run(&["config", "--reveal", "--env-file", "a.env"]).code(0);
    assert!(shown.out.contains("LOG_LEVEL: trace"), "{}", shown.out);
    assert!(shown.err.contains("MS0033"), "{}", shown.err);
}

#[test]
fn compose_file_may_lie_in_a_folder() {
    let project =
        Project::new(&[("app/one.yaml", "name: x\nservices: { a: { image: x } }\n"), ("b.yaml", "services: {}\n")]);
    let mut command = project.command(&["config", "--json"]);
    command.env("COMPOSE_FILE", "app/one.yaml,b.yaml").env("COMPOSE_PATH_SEPARATOR", ",");
    let ended = project.ended(command.spawn().expect("spawned")).code(0);
    assert_eq!(ended.json()["project"], "x");
}

#[test]
fn what_init_writes_is_valid_and_never_overwrites() {
    let project = Project::new(&[]);
    project.run(&["init"]).expect(
        0,
        expect![""],
        expect![[r#"
            ✔ wrote compose.yaml
            ✔ wrote mainstay.yaml
            ✔ wrote public/index.html
            next: `mainstay validate` checks the files, `mainstay up` brings the project up"#]],
    );
    project.run(&["validate"]).code(0);
    project.write("mainstay.yaml", "# mine\n");
    project.run(&["init"]).code(2);
    assert_eq!(project.read("mainstay.yaml"), "# mine\n");

    let project = Project::new(&[("compose.yaml", "services: { web: { build: ., ports: [\"80:3000\"] } }\n")]);
    project.run(&["init"]).code(0);
    assert!(project.read("mainstay.yaml").contains("/: \"web:3000\""));
    project.run(&["validate"]).code(0);
    project.run(&["init"]).code(2);
    project.run(&["init", "--force"]).code(0);
}

#[test]
fn a_project_is_found_from_below() {
    let project = Project::shop();
    let mut command = project.command(&["config", "--json"]);
    command.current_dir(project.path().join("web"));
    assert_eq!(project.ended(command.spawn().expect("spawned")).code(0).json()["project"], "shop");
}

#[test]
fn completions_know_every_command() {
    let project = Project::new(&[]);
    let help = project.run(&["--help"]).code(0).out;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()))
        .collect();
    assert!(commands.len() > 18, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = project.run(&["completions", shell]).code(0).out;
        let missing: Vec<&&str> = commands.iter().filter(|name| !script.contains(**name)).collect();
        assert!(missing.is_empty(), "{shell} lacks {missing:?}");
    }
}

#[test]
fn codes_are_explained_and_unknown_ones_list_near_ones() {
    let project = Project::new(&[]);
    let page = project.run(&["explain", "ms0061"]).code(0);
    assert!(page.out.starts_with("MS0061: ") && page.out.contains("Cure."), "{}", page.out);
    project.run(&["explain", "MS0069"]).expect(
        2,
        expect![""],
        expect![[r#"
            error: `MS0069` is no code of Mainstay
              help: near ones are MS0070, MS0067, MS0071; see all codes with `mainstay explain`"#]],
    );
    assert!(project.run(&["explain", "--json"]).code(0).json().as_array().expect("a list").len() > 40);
}

#[test]
fn without_a_daemon_commands_say_so_and_what_to_do() {
    let project = Project::shop();
    project.run(&["status"]).expect(
        1,
        expect![""],
        expect![[r#"
            error[MS0091]: no daemon answers at DIR/run/mainstay.sock
              because No such file or directory (os error 2)
              help: start one with `mainstay up` in a project, or with `mainstay serve`"#]],
    );
    let json = project.run(&["status", "--json"]).code(1).json();
    assert!(json["error"]["help"].as_str().expect("text").contains("mainstay serve"));
}

#[test]
fn mistakes_on_the_command_line_are_usage() {
    let project = Project::shop();
    for words in [&["nosuch"][..], &["scale"], &["scale", "api"], &["scale", "api=x"], &["logs", "--tail", "x"], &[]] {
        let ended = project.run(words).code(2);
        assert!(ended.out.is_empty() && !ended.err.is_empty(), "{words:?}");
    }
}

#[test]
fn the_unit_is_printed_and_not_installed_without_systemd() {
    let project = Project::new(&[]);
    let unit = project.run(&["service", "print"]).code(0).out;
    assert!(unit.contains("KillMode=process") && unit.contains("Delegate=yes"), "{unit}");
    assert_eq!(project.run(&["service", "install", "--print"]).code(0).out, unit);
    if !std::path::Path::new("/run/systemd/system").exists() {
        let ended = project.run(&["service", "install"]).code(1);
        assert!(
            ended.err.contains("systemd does not run this machine") && ended.err.contains("help:"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn colours_show_only_where_they_are_wanted() {
    let project = Project::shop();
    assert!(!project.run(&["validate"]).err.contains('\x1b'));
    assert!(project.run(&["validate", "--color", "always"]).err.contains('\x1b'));
    let on_terminal = project.run_on_terminal("validate", "");
    assert!(on_terminal.out.contains('\x1b'), "{}", on_terminal.out);
}

#[test]
fn config_shows_what_no_engine_runs_and_says_so() {
    let project = Project::new(&[("compose.yaml", "services: { a: { image: \"x:1\", privileged: true } }\n")]);
    let shown = project.run(&["config"]).code(0);
    assert!(shown.out.contains("privileged: true"), "{}", shown.out);
    assert!(shown.err.contains("this cannot be run as it is: 1 error"), "{}", shown.err);
    project.run(&["plan"]).code(2);
    assert!(project.run(&["init"]).code(0).err.contains("wrote mainstay.yaml"));
}

#[test]
fn config_says_which_file_set_a_value_and_what_it_replaced() {
    let project = Project::new(&[
        (
            "compose.yaml",
            "services:\n  api:\n    image: acme/api:${TAG:-1}\n    environment: { LEVEL: info, SECRET: hunter2 }\n",
        ),
        ("compose.override.yaml", "services:\n  api:\n    environment:\n      - LEVEL=debug\n"),
        (".env", "TAG=7\n"),
        (
            "mainstay.yaml",
            "environments: { production: { services: { api: { ready_within: 5m } } } }\nservices: { api: { ready_within: 1m } }\n",
        ),
    ]);
    project.run(&["config", "--explain", "services.api", "--reveal"]).expect(
        0,
        expect![[r#"
        KEY                              VALUE              SET IN
        services.api.image               acme/api:7         compose.yaml:3:12
                                           with $TAG        .env:1:1
        services.api.networks.default    null               follows from compose.override.yaml:2:3
        services.api.environment.LEVEL   debug              compose.override.yaml:4:9
                                           instead of info  compose.yaml:4:27
        services.api.environment.SECRET  hunter2            compose.yaml:4:41
        services.api.ready_within        5m                 mainstay.yaml:1:64
                                           instead of 1m    mainstay.yaml:2:34"#]],
        expect![""],
    );
    let masked = project.run(&["config", "--explain"]).code(0);
    assert!(
        !masked.out.contains("hunter2") && masked.out.contains("services.api.environment.SECRET"),
        "{}",
        masked.out
    );
    let json =
        project.run(&["config", "--explain", "services.api.environment.LEVEL", "--reveal", "--json"]).code(0).json();
    assert_eq!(json[0]["at"], serde_json::json!({ "file": "compose.override.yaml", "line": 4, "column": 9 }));
    assert_eq!(json[0]["before"][0]["value"], "info");
    project.run(&["config", "--explain", "services.apii.image"]).expect(
        2,
        expect![""],
        expect![[r#"
        error: nothing is set at `services.apii.image`
          help: did you mean `services.api.image`?"#]],
    );
    project.run(&["config", "--explain", "probes.api.ready.interval"]).expect(
        2,
        expect![""],
        expect![[r#"
        error: `probes.api.ready.interval` is left out
          because it is `30s` then
          help: From the end of one probe to the next."#]],
    );
}

#[test]
fn fmt_lays_files_out_and_checks_them() {
    let text = "# head\nroutes:\n- {host:   a.example, paths: {/: \"web:80\"}} # why\n";
    let project = Project::new(&[("mainstay.yaml", text), ("compose.yaml", "services: {web: {image: \"nginx:1\"}}\n")]);
    assert!(project.run(&["fmt", "--check"]).code(1).err.contains("would change"));
    assert_eq!(project.read("mainstay.yaml"), text);
    project.run(&["fmt"]).code(0);
    assert_eq!(
        project.read("mainstay.yaml"),
        "# head\nroutes:\n  - { host: a.example, paths: { /: \"web:80\" } } # why\n"
    );
    project.run(&["fmt", "--check"]).code(0);
    assert_eq!(project.run(&["fmt", "--json", "compose.yaml"]).code(0).json()[0]["changed"], true);
    project.write("mainstay.yaml", "routes: [\n");
    assert!(project.run(&["fmt"]).code(2).err.contains("MS0001"));
    assert_eq!(project.read("mainstay.yaml"), "routes: [\n");
}

#[test]
fn the_schema_and_sarif_are_json() {
    let project = Project::new(&[("compose.yaml", "services: { a: { imgae: x, build: . } }\n")]);
    assert_eq!(project.run(&["schema"]).code(0).json()["title"], "mainstay.yaml");
    let log = project.run(&["validate", "--sarif"]).code(2).json();
    let first = &log["runs"][0]["results"][0];
    assert_eq!((first["ruleId"].as_str(), first["level"].as_str()), (Some("MS0010"), Some("error")));
    assert_eq!(first["locations"][0]["physicalLocation"]["region"]["startColumn"], 18);
}
