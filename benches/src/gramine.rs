//! Runs a static program under gramine-direct, where gramine-direct is installed, with a manifest in a
//! temporary folder.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fl_host_tools::{
    image,
    sgx::{gramine_version::Gramine, make_manifest, template::Variables, trusted_files::OnDisk},
};
use fl_tests::elf::Elf;

use crate::{Failure, process::cpu};

/// A program that can be run under gramine-direct. Dropping it removes its folder.
#[derive(Debug)]
pub struct Inside {
    folder: PathBuf,
}

impl Inside {
    /// Prepares `program` with these arguments and one environment variable, or gives the reason why it
    /// cannot be run there.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the manifest is refused.
    pub fn new(
        program: &Path,
        argv: &[&str],
        (variable, value): (&str, &str),
    ) -> Result<Result<Self, String>, Failure> {
        let on_path = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|it| it.join("gramine-direct").is_file()));
        if !on_path {
            return Ok(Err("it is not on the PATH".to_owned()));
        }
        let bytes = fs::read(program)?;
        if Elf::parse(&bytes).is_none_or(|elf| elf.has_interpreter) {
            return Ok(Err("this program is not static".to_owned()));
        }
        let gramine = match image::gramine_files::find(None) {
            Ok(folder) => folder,
            Err(failure) => return Ok(Err(failure.error)),
        };
        let folder = std::env::temp_dir().join(format!("fl-bench-gramine-{}-{value}", process::id()));
        fs::create_dir_all(&folder)?;
        let this = Self { folder };
        // Copied with its mode: Gramine starts only executable files.
        fs::copy(program, this.folder.join(NAME))?;
        let variables = Variables::new()
            .with_gramine(&gramine.display().to_string())
            .with("argv", serde_json::to_string(argv)?)
            .with("variable", variable)
            .with("value", value);
        // Gramine resolves the names of trusted files from the folder that it is started in.
        let files = OnDisk { relative_to: this.folder.clone(), root: PathBuf::from("/") };
        let manifest = make_manifest(TEMPLATE, NAME, &variables, &files, &Gramine::NEWEST)
            .and_then(|manifest| manifest.text())
            .map_err(|failure| failure.error)?;
        fs::write(this.folder.join("program.manifest"), manifest)?;
        Ok(Ok(this))
    }

    /// Runs the program to its end. Gives its output and its processor seconds, including the start of
    /// Gramine.
    ///
    /// # Errors
    /// When the program fails or does not end.
    pub fn run(&self) -> Result<(String, f64), Failure> {
        let mut child = Command::new("gramine-direct")
            .arg(NAME)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        child.stdout.take().ok_or("no pipe")?.read_to_string(&mut said)?;
        // The times of a process that has ended can be read until it is waited for.
        let started = Instant::now();
        while !fs::read_to_string(format!("/proc/{}/stat", child.id()))?.contains(") Z ") {
            if started.elapsed() > GIVE_UP {
                child.kill()?;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let spent = cpu(child.id())?.as_secs_f64();
        match child.wait()? {
            status if status.success() => Ok((said, spent)),
            status => Err(format!("gramine-direct: {status}: {said}").into()),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A folder that cannot be removed stays among the temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The name of the program and of its manifest.
const NAME: &str = "program";
const TEMPLATE: &str = r#"
loader.entrypoint.uri = "file:{{ gramine.libos }}"
libos.entrypoint = "/program"
loader.argv = {{ argv }}
loader.env.{{ variable }} = "{{ value }}"
loader.log_level = "error"
fs.root = { type = "tmpfs" }
fs.mounts = [{ path = "/program", uri = "file:program" }]
sys.stack.size = "1M"
sgx.trusted_files = ["file:program"]
"#;
/// Longer than any measurement takes.
const GIVE_UP: Duration = Duration::from_secs(600);
