//! Programs of others that tests need: from `PyPI` and npm, pinned in the repository, installed under
//! `target/xtask`; Python and Node themselves from the system, or from Debian where this may.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{capture, root, run};

/// A virtual environment with what `requirements`, a file of the repository, pins.
///
/// Returns its directory of programs. It is made anew when the file has changed.
pub(crate) fn python(requirements: &str) -> Result<PathBuf> {
    let pinned = root().join(requirements);
    let venv = installed(requirements.trim_end_matches(".txt"));
    let programs = venv.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let stamp = Stamp::of(&venv, &[&pinned])?;
    if stamp.holds() {
        return Ok(programs);
    }
    let python = system(
        "python3",
        &["-c", "import venv, ensurepip"],
        &["python3", "python3-venv"],
    )?;
    empty(&venv)?;
    run(Command::new(python).args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(programs.join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(&pinned);
    run(&mut pip).with_context(|| format!("cannot install what {requirements} pins from PyPI"))?;
    stamp.write()?;
    Ok(programs)
}

/// The packages that the lock file in `directory`, a directory of the repository, pins.
///
/// Returns the directory `node_modules`. It is made anew when the lock file has changed.
pub(crate) fn npm(directory: &str) -> Result<PathBuf> {
    let place = installed(&format!("{directory}/node"));
    let pins = ["package.json", "package-lock.json"];
    let sources = pins.map(|name| root().join(directory).join(name));
    let stamp = Stamp::of(&place, &sources.each_ref().map(PathBuf::as_path))?;
    let modules = place.join("node_modules");
    if stamp.holds() {
        return Ok(modules);
    }
    node()?;
    let npm = system("npm", &["--version"], &["nodejs", "npm"])?;
    empty(&place)?;
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    for (source, name) in sources.iter().zip(pins) {
        fs::copy(source, place.join(name))
            .with_context(|| format!("cannot copy {}", source.display()))?;
    }
    let mut ci = Command::new(npm);
    ci.args(["ci", "--engine-strict", "--ignore-scripts"])
        .args(["--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&place);
    run(&mut ci).with_context(|| {
        format!("cannot install what {directory}/package-lock.json pins from npm")
    })?;
    stamp.write()?;
    Ok(modules)
}

/// Node.
pub(crate) fn node() -> Result<PathBuf> {
    system("node", &["--version"], &["nodejs", "npm"])
}

/// etcd.
pub(crate) fn etcd() -> Result<()> {
    system("etcd", &["--version"], &["etcd-server"])?;
    Ok(())
}

/// The compiler of protocol buffers that etcd's client for Rust is built with.
pub(crate) fn protoc() -> Result<()> {
    system("protoc", &["--version"], &["protobuf-compiler"])?;
    Ok(())
}

/// nginx, a proxy to be put in front of the server.
pub(crate) fn nginx() -> Result<PathBuf> {
    system("nginx", &["-v"], &["nginx"])
}

fn installed(name: &str) -> PathBuf {
    root().join("target/xtask").join(name.replace('/', "-"))
}

fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    Ok(())
}

/// What was installed last, so that it is not installed again.
struct Stamp {
    file: PathBuf,
    text: String,
}

impl Stamp {
    fn of(place: &Path, pins: &[&Path]) -> Result<Self> {
        let mut text = String::new();
        for pin in pins {
            text += &fs::read_to_string(pin)
                .with_context(|| format!("cannot read {}", pin.display()))?;
        }
        Ok(Self {
            file: place.join("installed"),
            text,
        })
    }

    fn holds(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == self.text)
    }

    fn write(&self) -> Result<()> {
        fs::write(&self.file, &self.text)
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// A program of the system that answers to `probe`; installed from Debian if it does not, where this
/// user may.
fn system(program: &str, probe: &[&str], packages: &[&str]) -> Result<PathBuf> {
    let answers = |program: &str| {
        Command::new(program)
            .args(probe)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    // What another installation puts earlier on the path may be the one that is incomplete, and Debian's
    // servers are where only root looks.
    let found = || {
        ["", "/usr/bin/", "/usr/sbin/"]
            .map(|place| format!("{place}{program}"))
            .into_iter()
            .find(|it| answers(it))
    };
    if let Some(found) = found() {
        return Ok(PathBuf::from(found));
    }
    let missing = format!(
        "`{program}` is missing or incomplete; install it (Debian: `sudo apt-get install {}`)",
        packages.join(" ")
    );
    if !is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!("{missing}, and run this again");
    }
    for arguments in [
        [&["update", "--quiet"][..], &[]],
        [
            &["install", "--yes", "--quiet", "--no-install-recommends"],
            packages,
        ],
    ] {
        let mut apt = Command::new("/usr/bin/apt-get");
        apt.args(arguments.concat())
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut apt).with_context(|| missing.clone())?;
    }
    match found() {
        Some(found) => Ok(PathBuf::from(found)),
        None => bail!("{missing}: what Debian installed does not do"),
    }
}

fn is_root() -> bool {
    cfg!(unix) && capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_named_by_its_pins() {
        assert!(installed("interop/node").ends_with("target/xtask/interop-node"));
    }

    #[test]
    fn a_stamp_holds_until_a_pin_changes() {
        let place = root().join("target/xtask/stamp-test");
        empty(&place).expect("nothing there");
        fs::create_dir_all(&place).expect("a directory");
        let pin = place.join("pin");
        fs::write(&pin, "a==1\n").expect("a file");
        let stamp = || Stamp::of(&place, &[&pin]).expect("a stamp");
        assert!(!stamp().holds());
        stamp().write().expect("it is written");
        assert!(stamp().holds());
        fs::write(&pin, "a==2\n").expect("a file");
        assert!(!stamp().holds());
        empty(&place).expect("it is removed");
    }

    #[test]
    fn every_python_package_is_pinned_to_one_version() {
        let text =
            fs::read_to_string(root().join("interop/requirements.txt")).expect("it is there");
        let pins = text.lines().filter(|line| !line.starts_with('#'));
        for line in pins {
            assert!(line.contains("=="), "{line}");
        }
    }

    #[test]
    fn lock_files_name_no_registry() {
        let text =
            fs::read_to_string(root().join("interop/package-lock.json")).expect("it is there");
        assert!(!text.contains("\"resolved\""), "{text}");
        assert!(text.contains("\"integrity\""), "{text}");
    }
}
