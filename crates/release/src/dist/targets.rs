//! The targets, and their names in each kind of package.

/// An architecture.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its name in Linux and Rust.
    pub(crate) arch: &'static str,
    pub(crate) triple: &'static str,
    /// Its name in Debian and OCI.
    pub(crate) debian: &'static str,
    /// Zig's name for it.
    pub(crate) zig: &'static str,
    /// Whether Rust by itself lets its static programs be loaded at any address.
    pub(crate) is_position_independent: bool,
}

pub(crate) const TARGETS: [Target; 2] = [
    Target {
        arch: "x86_64",
        triple: "x86_64-unknown-linux-musl",
        debian: "amd64",
        zig: "x86_64-linux-musl",
        is_position_independent: true,
    },
    Target {
        arch: "aarch64",
        triple: "aarch64-unknown-linux-musl",
        debian: "arm64",
        zig: "aarch64-linux-musl",
        is_position_independent: false,
    },
];

pub(crate) fn parse(text: &str) -> Result<&'static Target, String> {
    TARGETS.iter().find(|target| target.arch == text).ok_or_else(|| "it takes x86_64 or aarch64".to_owned())
}

impl Target {
    /// Whether this machine runs its programs.
    pub(crate) fn is_native(&self) -> bool {
        self.arch == std::env::consts::ARCH
    }
}
