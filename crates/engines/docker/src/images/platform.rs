//! Platforms as images and declarations write them: `linux/amd64`. Pure.

use bollard::models::ImageInspect;
use std::fmt;

/// An operating system, an architecture, and perhaps a variant of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    os: String,
    arch: String,
    variant: String,
}

impl Platform {
    /// Of these parts, in the spelling that images use.
    pub fn new(os: &str, arch: &str, variant: &str) -> Self {
        let os = if os.is_empty() { "linux" } else { os };
        let (arch, variant) = match (arch, variant) {
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            // `v8` is what every 64-bit ARM has.
            ("aarch64" | "arm64", "v8") => ("arm64", ""),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            other => other,
        };
        Self { os: os.to_lowercase(), arch: arch.to_owned(), variant: variant.to_owned() }
    }

    /// As it is written: `linux/arm64/v8`, or the architecture alone.
    pub fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [arch] => Self::new("", arch, ""),
            [os, arch] => Self::new(os, arch, ""),
            [os, arch, variant, ..] => Self::new(os, arch, variant),
            [] => Self::new("", "", ""),
        }
    }

    /// What an image was made for.
    pub fn of(image: &ImageInspect) -> Self {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        Self::new(&part(&image.os), &part(&image.architecture), &part(&image.variant))
    }

    /// Whether an image for `self` is what `wanted` asks for; a variant counts only when both name one.
    pub fn fits(&self, wanted: &Self) -> bool {
        let variant = self.variant.is_empty() || wanted.variant.is_empty() || self.variant == wanted.variant;
        self.os == wanted.os && self.arch == wanted.arch && variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_compared_as_they_are_meant() {
        let check = |a: &str, b: &str, fits: bool| {
            assert_eq!(Platform::parse(a).fits(&Platform::parse(b)), fits, "{a} {b}");
        };
        check("linux/amd64", "linux/x86_64", true);
        check("amd64", "linux/amd64", true);
        check("linux/arm64", "linux/arm64/v8", true);
        check("linux/arm/v6", "linux/arm/v7", false);
        check("linux/arm/v7", "linux/arm", true);
        check("linux/arm64", "linux/amd64", false);
        assert_eq!(Platform::parse("arm64").to_string(), "linux/arm64");
    }
}
