//! A manifest's text, read into tables that keep their order and written in the one form that Gramine's tool
//! writes.
//!
//! A measurement covers each byte of the text, so the form is part of the enclave: first the plain values of
//! a table, then its tables under headings; an array with one value on each line; an array of tables under
//! `[[headings]]`, unless each table fits on one line of [`LINE`] characters.

use std::fmt::Write as _;

use toml::{Table, Value};

use crate::exit::{Exit, Failure};

/// Reads a text. `what` names it in errors.
///
/// # Errors
/// [`Exit::Failed`] with line and column.
pub(super) fn parse(text: &str, what: &str) -> Result<Table, Failure> {
    text.parse::<Table>().map_err(|error| {
        let place = error.span().map(|span| place(text, span.start)).unwrap_or_default();
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Failure::new(Exit::Failed, format!("{what}{place}: {message}"))
            .hint("correct this place: a manifest is written in TOML 1.0")
    })
}

/// Writes the tables.
///
/// # Errors
/// [`Exit::Failed`] for a floating-point number or a date, which no manifest has.
pub(super) fn write(table: &Table) -> Result<String, Failure> {
    let mut out = String::new();
    write_table(&mut out, table, "", false)?;
    Ok(out)
}

/// A value as the text has it, on one line.
pub(super) fn shown(value: &Value) -> String {
    let mut out = String::new();
    match write_value(&mut out, value, 0) {
        Ok(()) => out.split_whitespace().collect::<Vec<_>>().join(" "),
        Err(_) => format!("a {}", value.type_str()),
    }
}

/// ` line N, column M`, both from 1, of a byte offset.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!(", line {line}, column {column}")
}

fn write_table(out: &mut String, table: &Table, name: &str, of_array: bool) -> Result<(), Failure> {
    let mut plain = Vec::new();
    let mut nested: Vec<(&str, &Table, bool)> = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => nested.push((key, inner, false)),
            Value::Array(list) => match tables_of(list) {
                Some(tables) if !all_fit(&tables)? => {
                    nested.extend(tables.into_iter().map(|t| (key.as_str(), t, true)));
                }
                _ => plain.push((key, value)),
            },
            _ => plain.push((key, value)),
        }
    }
    let start = out.len();
    if of_array {
        let _ = writeln!(out, "[[{name}]]");
    } else if !name.is_empty() && (!plain.is_empty() || nested.is_empty()) {
        let _ = writeln!(out, "[{name}]");
    }
    for (key, value) in plain {
        write_key(out, key);
        out.push_str(" = ");
        write_value(out, value, 0)?;
        out.push('\n');
    }
    for (key, inner, of_array) in nested {
        if out.len() > start {
            out.push('\n');
        }
        let mut path = String::new();
        if !name.is_empty() {
            path.push_str(name);
            path.push('.');
        }
        write_key(&mut path, key);
        write_table(out, inner, &path, of_array)?;
    }
    Ok(())
}

/// The tables of an array that holds nothing else, and at least one.
fn tables_of(list: &[Value]) -> Option<Vec<&Table>> {
    let tables: Option<Vec<&Table>> = list.iter().map(Value::as_table).collect();
    tables.filter(|tables| !tables.is_empty())
}

fn all_fit(tables: &[&Table]) -> Result<bool, Failure> {
    for table in tables {
        let mut line = INDENT.to_owned();
        write_inline(&mut line, table)?;
        line.push(',');
        if line.chars().count() > LINE || line.contains('\n') {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_value(out: &mut String, value: &Value, depth: usize) -> Result<(), Failure> {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Boolean(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Table(table) => write_inline(out, table)?,
        Value::Array(list) if list.is_empty() => out.push_str("[]"),
        Value::Array(list) => {
            out.push_str("[\n");
            for value in list {
                out.push_str(&INDENT.repeat(depth + 1));
                write_value(out, value, depth + 1)?;
                out.push_str(",\n");
            }
            out.push_str(&INDENT.repeat(depth));
            out.push(']');
        }
        Value::Float(_) | Value::Datetime(_) => {
            let error = format!("a value is a {}, which no key of a manifest takes", value.type_str());
            return Err(Failure::new(Exit::Failed, error).hint("write the value as text in quotes"));
        }
    }
    Ok(())
}

/// An array inside starts at the left edge again.
fn write_inline(out: &mut String, table: &Table) -> Result<(), Failure> {
    if table.is_empty() {
        out.push_str("{}");
        return Ok(());
    }
    out.push_str("{ ");
    for (number, (key, value)) in table.iter().enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        write_key(out, key);
        out.push_str(" = ");
        write_value(out, value, 0)?;
    }
    out.push_str(" }");
    Ok(())
}

fn write_key(out: &mut String, key: &str) {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) {
        out.push_str(key);
    } else {
        write_text(out, key);
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{8}' => out.push_str("\\b"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push('\t'),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Longest text that is read, bytes. OpenFL's manifests have 10 MB, ours have 8 kB.
pub const TEXT_BYTES: usize = 32 << 20;
/// Widest line of a table that is written on one line, with its indentation and comma.
const LINE: usize = 100;
/// One step of indentation.
const INDENT: &str = "    ";

#[cfg(test)]
mod tests {
    use crate::sgx::tests::text;

    /// `forms.expect` is what Gramine's tool writes for `forms.toml`: escapes, empty and nested values,
    /// quoted keys, a table of exactly one line and one a character longer.
    #[test]
    fn every_form_is_written_as_the_tool_of_gramine_writes_it() {
        let table = super::parse(&text("forms.toml"), "forms").unwrap();
        assert_eq!(super::write(&table).unwrap(), text("forms.expect"));
    }
}
