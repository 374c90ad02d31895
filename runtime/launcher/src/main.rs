//! fl-launcher: an image's entry point.

use std::{
    fmt, io::Write as _, os::unix::process::CommandExt as _, path::Path, process::Command, process::ExitCode,
};

use fl_launcher::{
    check::{self, Failure},
    image::Image,
    start::{self, Asked, NAME_VARIABLE, Program},
};

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let failure = match prepare(&Image::at(Path::new("/")), &words) {
        Ok(program) => become_it(&program),
        Err(failure) => failure,
    };
    complain(format_args!("error: {}\nhint: {}", failure.error, failure.hint));
    ExitCode::from(failure.exit)
}

fn prepare(image: &Image, words: &[String]) -> Result<Program, Failure> {
    let Some(asked) = Asked::read(words)? else { return Ok(start::plain(image, words)) };
    let program = start::program(image, &asked)?;
    for warning in
        check::container(image, asked.role, check::mounts().as_deref(), check::status().as_deref())?
    {
        complain(format_args!("warning: {warning}"));
    }
    Ok(program)
}

/// Returns only if the program could not be started.
fn become_it(program: &Program) -> Failure {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments);
    // The host must not set this variable by itself.
    command.env_remove(NAME_VARIABLE);
    command.envs(program.name.iter().map(|name| (NAME_VARIABLE, name)));
    let error = command.exec();
    Failure::file(
        &format!("cannot start {}: {error}", program.path.display()),
        "run this program only in an image that `fl-host workspace dockerize` made",
    )
}

/// Writes a line to standard error, even if nobody can read it.
fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
