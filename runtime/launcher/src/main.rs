//! fl-launcher: an image's entry point.

use std::{
    fmt, io::Write as _, os::unix::process::CommandExt as _, path::Path, process::Command, process::ExitCode,
};

use fl_launcher::{
    check::{self, Failure},
    image::Image,
    start::{self, Asked, NAME_VARIABLE, Program},
    stay,
};

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    prepare(&Image::at(Path::new("/")), &words).and_then(|program| run(&program)).unwrap_or_else(|failure| {
        complain(format_args!("error: {}\nhint: {}", failure.error, failure.hint));
        ExitCode::from(failure.exit)
    })
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

/// Becomes the program, or stays with it where Gramine runs it.
fn run(program: &Program) -> Result<ExitCode, Failure> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments);
    // The host must not set this variable by itself.
    command.env_remove(NAME_VARIABLE);
    command.envs(program.name.iter().map(|name| (NAME_VARIABLE, name)));
    let error = match program.under_gramine {
        true => match stay::stay(&mut command) {
            Ok(code) => return Ok(ExitCode::from(code)),
            Err(error) => error,
        },
        // Returns only if the program could not be started.
        false => command.exec(),
    };
    Err(Failure::file(
        &format!("cannot start {}: {error}", program.path.display()),
        "run this program only in an image that `fl-host workspace dockerize` made",
    ))
}

/// Writes a line to standard error, even if nobody can read it. A word of the command line may hold anything:
/// control characters are escaped.
fn complain(line: fmt::Arguments<'_>) {
    let keep = |c: char| matches!(c, '\n' | '"' | '\'' | '\\');
    let mut safe = String::new();
    for c in line.to_string().chars() {
        if keep(c) { safe.push(c) } else { safe.extend(c.escape_debug()) }
    }
    let _ = writeln!(std::io::stderr(), "{safe}");
}
