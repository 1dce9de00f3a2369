//! What the repository allows: change it here, with the reason, in the change that needs it.

/// Which of our crates may name which; a crate may also name what these name in turn. A crate that
/// is not in this table may not exist.
pub(super) const EDGES: &[(&str, &[&str])] = &[
    ("plane-model", &[]),
    ("plane-eval", &["plane-model"]),
    ("plane-registry", &["plane-model"]),
    ("plane-stats", &["plane-model"]),
    ("plane-state", &["plane-eval", "plane-registry"]),
    ("plane-log", &[]),
    ("plane-secrets", &["plane-model"]),
    (
        "plane-node",
        &["plane-state", "plane-log", "plane-secrets", "plane-stats"],
    ),
    ("plane-api", &["plane-model"]),
    ("plane-server", &["plane-node", "plane-api"]),
    ("plane-client", &["plane-eval", "plane-api", "plane-state"]),
    (
        "control-plane",
        &[
            "plane-server",
            "plane-client",
            "plane-log",
            "plane-registry",
            "plane-state",
        ],
    ),
    ("control-plane-openfeature", &["plane-client"]),
    ("control-plane-python", &["plane-client"]),
    ("xtask", &[]),
];

/// How many crates there may be under `crates/`: a new concern starts as a module.
pub(super) const CRATES_MAX: usize = 12;

/// The crates that do no I/O, read no clock and draw no randomness.
pub(crate) const PURE: &[&str] = &[
    "plane-model",
    "plane-eval",
    "plane-registry",
    "plane-stats",
    "plane-state",
];

/// What may not be linked into a pure crate, however deep.
pub(super) const IMPURE: &[&str] = &[
    "axum",
    "chrono",
    "hyper",
    "jiff",
    "libsqlite3-sys",
    "mio",
    "rand",
    "reqwest",
    "rusqlite",
    "socket2",
    "time",
    "tokio",
    "tracing-subscriber",
    "ureq",
];

/// What a pure crate may not name itself. Deeper it is harmless: hash maps of dependencies seed
/// themselves with it, and no result depends on the order of a hash map.
pub(super) const IMPURE_DIRECT: &[&str] = &["getrandom", "ulid"];

/// What the source of a pure crate may not say outside its tests.
pub(super) const IMPURE_SOURCE: &[&str] = &[
    "std::env::",
    "std::fs",
    "std::io::stdin",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
];

/// The lints that a pure crate denies outside its tests.
pub(super) const PURE_LINTS: &[&str] = &[
    "clippy::unwrap_used",
    "clippy::expect_used",
    "clippy::indexing_slicing",
    "clippy::panic",
    "clippy::todo",
];

/// Licences that any dependency may have.
pub(super) const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Licences that only the named package may have, with the reason.
pub(super) const LICENCE_EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "imbl",
        "MPL-2.0",
        "copyleft by file: we use it unmodified (docs/adr/0005)",
    ),
    ("imbl-sized-chunks", "MPL-2.0", "part of imbl"),
    (
        "target-lexicon",
        "Apache-2.0 WITH LLVM-exception",
        "builds PyO3; the exception only permits more",
    ),
    (
        "webpki-roots",
        "CDLA-Permissive-2.0",
        "a permissive licence for data: the roots of Mozilla",
    ),
];

/// Packages that may be linked in an older series next to the newest one, with the reason.
pub(super) const DUPLICATES: &[(&str, &str, &str)] = &[
    ("getrandom", "0.2", "ring, of rustls"),
    ("getrandom", "0.3", "ahash, of jsonschema"),
    ("r-efi", "5", "getrandom 0.3, on UEFI only"),
    ("rand_core", "0.9", "imbl"),
    (
        "syn",
        "2",
        "derive macros that have not moved to 3: no code of it is in the binary",
    ),
    ("windows-sys", "0.52", "ring, on Windows only"),
];

/// How many packages `Cargo.lock` may hold. Raise it in the change that needs it, never above 550.
pub(super) const LOCKED_PACKAGES_MAX: usize = 340;

/// Lines of a file, tests not counted, above which it is asked for a seam.
pub(super) const FILE_LINES_MAX: usize = 700;
