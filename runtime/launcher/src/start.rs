//! From a container's arguments to the program that runs.

use std::path::PathBuf;

use crate::{
    check::Failure,
    image::{GRAMINE, Image, RUNTIME, Role, Target, WORKSPACE},
};

/// The arguments of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The role to start.
    pub role: Role,
    /// The collaborator's name.
    pub name: Option<String>,
    /// Words before the role.
    before: Vec<String>,
    /// Words after the role, without `start` and the name.
    after: Vec<String>,
}

/// A program to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments, its own name left out.
    pub arguments: Vec<String>,
    /// The collaborator's name, for [`NAME_VARIABLE`].
    pub name: Option<String>,
    /// Whether Gramine runs the role: the launcher then stays and passes signals on.
    pub under_gramine: bool,
}

impl Asked {
    /// Reads `aggregator [start]` or `collaborator [start] -n NAME`. `None` for words without a role, which
    /// the runtime answers.
    ///
    /// # Errors
    /// A collaborator without a name, `-n` without a value, a name for an aggregator.
    pub fn read(words: &[String]) -> Result<Option<Self>, Failure> {
        let Some((at, role)) =
            words.iter().enumerate().find_map(|(at, word)| Role::of(word).map(|role| (at, role)))
        else {
            return Ok(None);
        };
        let (mut name, mut after, mut started) = (None, Vec::new(), false);
        let mut rest = words[at + 1..].iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "start" if !started => started = true,
                "-n" | "--name" => {
                    let Some(value) = rest.next() else {
                        return Err(Failure::usage(
                            &format!("{word} needs a name"),
                            "start the container with the arguments `collaborator start -n NAME`",
                        ));
                    };
                    name = Some(value.clone());
                }
                _ => after.push(word.clone()),
            }
        }
        let asks_for_help = after.iter().any(|word| matches!(word.as_str(), "--help" | "help"));
        match (role, &name) {
            (Role::Collaborator, None) if !asks_for_help => Err(Failure::usage(
                "a collaborator needs its name",
                "start the container with the arguments `collaborator start -n NAME`; the federation's owner approved this name",
            )),
            (Role::Aggregator, Some(_)) => Err(Failure::usage(
                "an aggregator takes no name",
                "start the container with the arguments `aggregator start`",
            )),
            _ => Ok(Some(Self { role, name, before: words[..at].to_vec(), after })),
        }
    }
}

/// The runtime with unchanged arguments, for words without a role: `--version`, `--help`, mistakes.
#[must_use]
pub fn plain(image: &Image, words: &[String]) -> Program {
    Program { path: image.path(RUNTIME), arguments: words.to_vec(), name: None, under_gramine: false }
}

/// The program for these arguments.
///
/// # Errors
/// Any words beside the role and the name, if a manifest fixes the command line.
pub fn program(image: &Image, asked: &Asked) -> Result<Program, Failure> {
    let shown = |path: PathBuf| path.to_string_lossy().into_owned();
    let target = image.target(asked.role);
    if target == Target::Native {
        let mut arguments = asked.before.clone();
        arguments.push(asked.role.word().to_owned());
        arguments.extend(asked.name.iter().flat_map(|name| ["-n".to_owned(), name.clone()]));
        arguments.extend(["--workspace".to_owned(), shown(image.path(WORKSPACE))]);
        // Starting an image accepts the plan in it, unless save/ has recorded another plan.
        if asked.role == Role::Collaborator {
            arguments.push("--accept-first".to_owned());
        }
        arguments.extend(asked.after.iter().cloned());
        return Ok(Program { path: image.path(RUNTIME), arguments, name: None, under_gramine: false });
    }
    if let Some(word) = asked.before.iter().chain(&asked.after).next() {
        return Err(Failure::usage(
            &format!("this image does not accept the argument {word}"),
            "give only the role and the collaborator's name: the image's manifest fixes all other arguments",
        ));
    }
    let folder = image.path(GRAMINE).join(target.word());
    let pal = folder.join("libpal.so");
    // Without an enclave the library is its own loader.
    let path = if target == Target::Sgx { folder.join("loader") } else { pal.clone() };
    let application = shown(image.application(asked.role));
    let arguments = vec![shown(pal), "init".to_owned(), application];
    Ok(Program { path, arguments, name: asked.name.clone(), under_gramine: true })
}

/// Carries the collaborator's name when a manifest fixes the command line. The name is a hint; the
/// certificate decides.
pub const NAME_VARIABLE: &str = "FL_COLLABORATOR";

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn asked(line: &str) -> Asked {
        Asked::read(&words(line)).unwrap().unwrap()
    }

    #[test]
    fn manuals_command_lines_start_the_roles() {
        let image = Image::at(Path::new("/"));
        let line = |line: &str| program(&image, &asked(line)).unwrap().arguments.join(" ");
        assert_eq!(line("aggregator start"), "aggregator --workspace /workspace");
        assert_eq!(line("aggregator"), line("aggregator start"));
        assert_eq!(
            line("collaborator start -n one"),
            "collaborator -n one --workspace /workspace --accept-first"
        );
        assert_eq!(line("collaborator -n start start"), line("collaborator start -n start"));
        assert_eq!(
            line("--json -v aggregator start --fresh"),
            "--json -v aggregator --workspace /workspace --fresh"
        );
        let program = program(&image, &asked("aggregator start")).unwrap();
        assert_eq!(program.path, Path::new("/fl/fl-runtime"));
    }

    #[test]
    fn words_without_a_role_go_to_the_runtime_and_mistakes_are_told() {
        assert_eq!(Asked::read(&words("--version")).unwrap(), None);
        assert_eq!(Asked::read(&[]).unwrap(), None);
        for (line, error) in [
            ("collaborator start", "a collaborator needs its name"),
            ("collaborator -n", "-n needs a name"),
            ("aggregator start -n one", "an aggregator takes no name"),
        ] {
            let failure = Asked::read(&words(line)).unwrap_err();
            assert_eq!((failure.error.as_str(), failure.exit), (error, 2));
            assert!(!failure.hint.is_empty());
        }
        assert!(Asked::read(&words("collaborator --help")).is_ok());
    }

    #[test]
    fn manifest_of_the_role_picks_the_loader_and_the_name_goes_into_the_environment() {
        let root = std::env::temp_dir().join(format!("fl-launcher-start-{}", std::process::id()));
        fs::create_dir_all(root.join("fl")).unwrap();
        let image = Image::at(&root);
        let at = |inside: &str| root.join(inside).to_string_lossy().into_owned();

        fs::write(root.join("fl/collaborator.manifest"), "").unwrap();
        let direct = program(&image, &asked("collaborator start -n one")).unwrap();
        assert_eq!(direct.path, root.join("gramine/direct/libpal.so"));
        assert_eq!(direct.arguments, [at("gramine/direct/libpal.so"), "init".into(), at("fl/collaborator")]);
        assert_eq!((direct.name.as_deref(), direct.under_gramine), (Some("one"), true));
        // The other role's manifest is another matter.
        assert_eq!(image.target(Role::Aggregator), Target::Native);

        fs::write(root.join("fl/collaborator.manifest.sgx"), "").unwrap();
        let sgx = program(&image, &asked("collaborator -n one")).unwrap();
        assert_eq!(sgx.path, root.join("gramine/sgx/loader"));
        assert_eq!(sgx.arguments, [at("gramine/sgx/libpal.so"), "init".into(), at("fl/collaborator")]);

        let refused = program(&image, &asked("--json collaborator -n one")).unwrap_err();
        assert_eq!(
            (refused.error.as_str(), refused.exit),
            ("this image does not accept the argument --json", 2)
        );
        fs::remove_dir_all(&root).unwrap();
    }
}
