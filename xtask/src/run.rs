//! `cargo xtask run`: what a newcomer does first.
//!
//! Builds the server, starts it on a data directory that outlives it, and says what to try. On Unix
//! this program becomes the server, so that signals and the exit status are the server's own; a
//! second process of this program reads the server's standard output for the line that says that it
//! is ready, and passes on whatever else it prints.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{capture, cargo, root};

/// The hidden command that reads what the server prints.
pub(crate) const ANNOUNCE: &str = "announce";

/// The example platform.
pub(crate) const TREE: &str = "examples/aiaas";
const LISTEN_DEFAULT: &str = "127.0.0.1:7400";
const DATA_DEFAULT: &str = ".data/run";
/// The file in a data directory that says that the example is loaded. It is written when the server
/// is ready, so that a first run that was cut short loads again.
const LOADED: &str = "example-loaded";
/// The file in which the server leaves the first admin token.
const ADMIN_TOKEN: &str = "admin-token";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    listen: String,
    data: PathBuf,
    fresh: bool,
    release: bool,
}

impl Options {
    /// Parses the arguments after `run`, as `--name value` or `--name=value`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Options> {
        let mut options = Options {
            listen: LISTEN_DEFAULT.to_owned(),
            data: PathBuf::from(DATA_DEFAULT),
            fresh: false,
            release: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut value = || {
                inline
                    .clone()
                    .or_else(|| arguments.next().cloned())
                    .filter(|value| !value.is_empty())
            };
            match name {
                "--listen" => options.listen = value().context("`--listen` needs an address")?,
                "--data" => {
                    options.data = PathBuf::from(value().context("`--data` needs a directory")?);
                }
                "--fresh" if inline.is_none() => options.fresh = true,
                "--release" if inline.is_none() => options.release = true,
                _ => bail!("`run` has no option `{argument}`; see `cargo xtask help`"),
            }
        }
        Ok(options)
    }
}

/// Builds the server and runs it in the foreground until it is stopped.
pub(crate) fn run(options: &Options) -> Result<()> {
    // Before the build: a newcomer should not wait for minutes to hear that a port is taken.
    check_address(&options.listen)?;
    if !root().join(TREE).is_dir() {
        bail!("{TREE} is missing from this checkout; restore it with `git checkout {TREE}`");
    }
    let data = root().join(&options.data);
    if options.fresh {
        empty(&data)?;
    }
    eprintln!(
        "run 1/3: building the server{}",
        if options.release {
            " (optimised: this takes a while)"
        } else {
            ""
        }
    );
    let binary = build(options.release)?;

    let mut server = Command::new(root().join(&binary));
    server
        .current_dir(root())
        .args(["serve", "--listen", &options.listen]);
    server.arg("--data").arg(&options.data);
    if data.join(LOADED).exists() {
        eprintln!(
            "run 2/3: keeping the data in {} (`--fresh` starts over)",
            options.data.display()
        );
    } else {
        eprintln!("run 2/3: loading {TREE} into {}", options.data.display());
        server.args(["--load", TREE]);
    }
    eprintln!("run 3/3: starting the server");
    become_server(server, &announcement(&binary, &options.data))
}

/// Reads what the server prints, and says what to try once it is ready. Ends when the server does.
pub(crate) fn announce(arguments: &[String]) -> Result<()> {
    let [data, binary] = arguments else {
        bail!("`{ANNOUNCE}` is not a command for people; see `cargo xtask help`");
    };
    pass_on(
        std::io::stdin().lock(),
        std::io::stdout().lock(),
        Path::new(data),
        Path::new(binary),
    )
}

fn check_address(listen: &str) -> Result<()> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "{listen} is taken by another program, perhaps by a server that you started before; stop \
             it, or choose another address: `cargo xtask run --listen 127.0.0.1:7401`"
        ),
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot listen on `{listen}`; give an address of this machine and a port, for \
                 example `--listen {LISTEN_DEFAULT}`"
            )
        }),
    }
}

/// Removes what a server left in `data`, and refuses a directory that no server made.
fn empty(data: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", data.display()));
        }
    };
    let ours = data.join(ADMIN_TOKEN).exists() || data.join(LOADED).exists();
    if !ours && entries.next().is_some() {
        bail!(
            "{} does not look like a data directory of the control plane, so `--fresh` leaves it \
             alone; remove it yourself, or choose another with `--data`",
            data.display()
        );
    }
    fs::remove_dir_all(data).with_context(|| format!("cannot empty {}", data.display()))
}

/// Builds the binary with cargo's own progress, and returns its path.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    let mut command = cargo(&[
        "build",
        "--package",
        "control-plane",
        "--bin",
        "control-plane",
    ]);
    command.arg("--message-format=json-render-diagnostics");
    if release {
        command.arg("--release");
    }
    built_binary(&capture(&mut command)?).context("cargo did not say where it put the server")
}

fn built_binary(messages: &str) -> Option<PathBuf> {
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "control-plane")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))?;
    // As short as it can be in what a person pastes from the root of the repository.
    let short = executable.strip_prefix(root()).map(Path::to_path_buf);
    Some(short.unwrap_or(executable))
}

fn announcement(binary: &Path, data: &Path) -> Vec<std::ffi::OsString> {
    vec![ANNOUNCE.into(), data.into(), binary.into()]
}

/// Replaces this program by `server`, with its standard output in the hands of an announcer.
#[cfg(unix)]
fn become_server(mut server: Command, announcement: &[std::ffi::OsString]) -> Result<()> {
    use std::os::unix::process::CommandExt;

    let mut announcer = Command::new(std::env::current_exe().context("cannot find this program")?)
        .args(announcement)
        .current_dir(root())
        .stdin(Stdio::piped())
        // In a group of its own it outlives a Ctrl-C for as long as the server takes to shut down.
        .process_group(0)
        .spawn()
        .context("cannot start the announcer")?;
    let output = announcer
        .stdin
        .take()
        .context("the announcer has no input")?;
    let error = server.stdin(Stdio::null()).stdout(output).exec();
    Err(error).context("cannot start the server")
}

/// Runs `server` as a child: there is no way to become it, and Ctrl-C reaches both.
#[cfg(not(unix))]
fn become_server(mut server: Command, announcement: &[std::ffi::OsString]) -> Result<()> {
    let mut child = server
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the server")?;
    let output = child.stdout.take().context("the server has no output")?;
    if let [_, data, binary] = announcement {
        let out = std::io::stdout().lock();
        pass_on(
            BufReader::new(output),
            out,
            Path::new(data),
            Path::new(binary),
        )?;
    }
    let status = child.wait().context("cannot wait for the server")?;
    if !status.success() {
        bail!("the server ended with {status}");
    }
    Ok(())
}

fn pass_on(input: impl BufRead, mut out: impl Write, data: &Path, binary: &Path) -> Result<()> {
    for line in BufReader::new(input).lines() {
        let line = line.context("cannot read what the server prints")?;
        let Some(address) = line.strip_prefix("ready ") else {
            writeln!(out, "{line}")?;
            continue;
        };
        let marker = root().join(data).join(LOADED);
        fs::write(&marker, format!("{TREE}\n"))
            .with_context(|| format!("cannot write {}", marker.display()))?;
        out.write_all(what_to_try(address.trim(), data, binary).as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// What a newcomer reads when the server is ready.
fn what_to_try(address: &str, data: &Path, binary: &Path) -> String {
    let binary = quoted(&binary.display().to_string());
    let token = quoted(&data.join(ADMIN_TOKEN).display().to_string());
    let resolve = |tenant| {
        format!(
            "  {binary} resolve customer_support_agent --environment production --tenant {tenant}"
        )
    };
    format!(
        "
ready {address}

The control plane is running. Ctrl-C stops it and keeps its data.
  address      {address}
  admin token  in the file {token}

To try it, open another terminal in the root of this repository and paste:

  export CONTROL_PLANE_URL={address}
  export CONTROL_PLANE_TOKEN_FILE={token}

1. The agent as two tenants get it: temperature 0.3 for the first, 0.7 for the second. If it is 0.7 for both,
   the flag is still killed from an earlier run: 4 takes that back.

{first}
{second}

2. Kill the flag that makes the difference, as in an emergency.

  {binary} flag kill enhanced_reasoning --environment production --reason \"trying the kill switch\"

3. The first tenant's agent has changed: its temperature is 0.7 now.

{first}

4. Revive the flag: the first tenant's temperature is 0.3 again.

  {binary} flag revive enhanced_reasoning --environment production --reason \"tried it\"

",
        first = resolve("tenant123"),
        second = resolve("tenant456"),
    )
}

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options> {
        Options::parse(
            &arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    /// A directory under the target directory that this test alone uses, empty.
    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        if directory.exists() {
            fs::remove_dir_all(&directory).expect("it can be removed");
        }
        fs::create_dir_all(&directory).expect("it can be created");
        directory
    }

    #[test]
    fn options_have_defaults_that_need_no_argument() {
        let options = options(&[]).expect("no argument is needed");
        assert_eq!(options.listen, "127.0.0.1:7400");
        assert_eq!(options.data, Path::new(".data/run"));
        assert!(!options.fresh && !options.release);
    }

    #[test]
    fn options_take_their_value_as_a_word_of_its_own_or_after_an_equals_sign() {
        let spaced = options(&[
            "--listen",
            "127.0.0.1:0",
            "--data",
            "d",
            "--fresh",
            "--release",
        ]);
        let joined = options(&["--listen=127.0.0.1:0", "--data=d", "--fresh", "--release"]);
        assert_eq!(spaced.expect("valid"), joined.expect("valid"));
    }

    #[test]
    fn an_option_that_is_unknown_or_lacks_its_value_is_named() {
        for (arguments, says) in [
            (&["--port", "1"][..], "no option `--port`"),
            (&["--fresh=yes"], "no option `--fresh=yes`"),
            (&["--listen"], "`--listen` needs an address"),
            (&["--data="], "`--data` needs a directory"),
        ] {
            let error = options(arguments).expect_err("it is invalid");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("an address").to_string();
        let error = check_address(&address).expect_err("it is taken");
        assert!(error.to_string().contains("--listen"), "{error}");
        drop(taken);
        check_address(&address).expect("it is free again");
    }

    #[test]
    fn fresh_empties_a_data_directory_and_leaves_any_other_alone() {
        let data = directory("fresh");
        fs::write(data.join("thesis.txt"), "years of work").expect("writable");
        assert!(empty(&data).is_err());
        assert!(data.join("thesis.txt").exists());
        fs::write(data.join(ADMIN_TOKEN), "cp_admin").expect("writable");
        empty(&data).expect("it is a data directory");
        assert!(!data.exists());
        empty(&data).expect("what is not there is empty");
    }

    #[test]
    fn the_binary_is_where_cargo_says_and_short_inside_the_repository() {
        let executable = root().join("target/debug/control-plane");
        let message = serde_json::json!({
            "reason": "compiler-artifact", "target": { "name": "control-plane" },
            "executable": executable,
        });
        let messages = format!("{{\"reason\":\"build-script-executed\"}}\n{message}\n");
        assert_eq!(
            built_binary(&messages),
            Some(PathBuf::from("target/debug/control-plane"))
        );
        assert_eq!(built_binary(""), None);
    }

    #[test]
    fn the_ready_line_gives_way_to_what_to_try_and_other_lines_pass() {
        let data = directory("ready");
        let mut out = Vec::new();
        let printed = "loading\nready http://127.0.0.1:7401\nlater\n";
        pass_on(
            printed.as_bytes(),
            &mut out,
            &data,
            Path::new("target/debug/control-plane"),
        )
        .expect("it can be read");
        let out = String::from_utf8(out).expect("text");
        assert!(
            out.starts_with("loading\n") && out.ends_with("later\n"),
            "{out}"
        );
        assert!(
            out.contains("export CONTROL_PLANE_URL=http://127.0.0.1:7401\n"),
            "{out}"
        );
        assert!(data.join(LOADED).exists(), "the next run keeps the data");
        fs::remove_dir_all(data).expect("it can be removed");
    }

    #[test]
    fn a_server_that_never_gets_ready_leaves_the_example_to_be_loaded_again() {
        let data = directory("unready");
        let mut out = Vec::new();
        pass_on("loading\n".as_bytes(), &mut out, &data, Path::new("b")).expect("readable");
        assert!(!data.join(LOADED).exists());
        fs::remove_dir_all(data).expect("it can be removed");
    }

    #[test]
    fn paths_with_blanks_or_quotes_stay_one_word_when_pasted() {
        assert_eq!(
            quoted("target/debug/control-plane"),
            "target/debug/control-plane"
        );
        assert_eq!(quoted("my data/it's"), r"'my data/it'\''s'");
    }
}
