//! Manifest templates: Jinja syntax, rendered to TOML.

use std::{collections::BTreeMap, io};

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};

use crate::exit::{Exit, Failure};

/// The values of a template's names.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    values: BTreeMap<String, Value>,
    gramine: Option<String>,
}

impl Variables {
    /// No names yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// With `gramine.libos`, `gramine.pkglibdir` and `gramine.runtimedir()`: `folder` is the one that holds
    /// libsysdb.so.
    #[must_use]
    pub fn with_gramine(mut self, folder: &str) -> Self {
        self.gramine = Some(folder.trim_end_matches('/').to_owned());
        self
    }

    /// The path of Gramine's libsysdb.so, where Gramine's folder is known.
    #[must_use]
    pub fn libos(&self) -> Option<String> {
        self.gramine.as_ref().map(|folder| format!("{folder}/libsysdb.so"))
    }
}

/// Renders a template. `what` names it in errors.
///
/// # Errors
/// [`Exit::Failed`] with the line, for a syntax error, a name without a value, or a template that needs too
/// much work or gives too much text.
pub fn render(template: &str, what: &str, variables: &Variables) -> Result<String, Failure> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    environment.set_fuel(Some(FUEL));
    let mut values = variables.values.clone();
    if let (Some(folder), Some(libos)) = (variables.gramine.clone(), variables.libos()) {
        let runtime = folder.clone();
        let runtimedir = Value::from_function(move |libc: Option<String>| {
            format!("{runtime}/runtime/{}", libc.unwrap_or_else(|| "glibc".into()))
        });
        values.insert("gramine".into(), context! { libos, pkglibdir => folder, runtimedir });
    }
    let refused = |error: &minijinja::Error| {
        let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        Failure::new(Exit::Failed, format!("{what}{line}: {}{detail}", error.kind()))
            .hint("give the value of a name with -D NAME=VALUE, and those of gramine.* with --gramine FOLDER")
    };
    let template = environment.template_from_str(template).map_err(|e| refused(&e))?;
    let mut out = Bounded { text: Vec::new(), full: false };
    let known: Vec<String> = values.keys().cloned().collect();
    if let Err(error) = template.render_captured_to(values, &mut out) {
        let given = |name: &String| {
            let root = name.split('.').next().unwrap_or_default();
            known.iter().any(|k| k == root) || environment.globals().any(|(global, _)| global == root)
        };
        let mut unknown: Vec<String> =
            template.undeclared_variables(true).into_iter().filter(|name| !given(name)).collect();
        unknown.sort();
        return Err(match out.full {
            false if error.kind() == ErrorKind::UndefinedError && !unknown.is_empty() => {
                let failure = refused(&error);
                Failure { error: format!("{}: {}", failure.error, unknown.join(", ")), ..failure }
            }
            true => Failure::new(Exit::Failed, format!("{what} gives more text than a manifest can have")),
            false => refused(&error),
        });
    }
    String::from_utf8(out.text)
        .map_err(|_| Failure::new(Exit::Failed, format!("{what} gives text that is not UTF-8")))
}

/// Accepts as much text as a manifest may have, and refuses more.
struct Bounded {
    text: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > super::document::TEXT_BYTES {
            self.full = true;
            return Err(io::Error::other("too long"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Most steps of the template engine; this project's templates take some hundreds.
const FUEL: u64 = 1_000_000;
