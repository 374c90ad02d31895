//! `release`: `{what: last, to: members}`.

use crate::plan::field::Field;
use crate::plan::yaml::{Value, did_you_mean, quoted};
use crate::plan::{PlanError, Release, ReleaseTo, Released};

pub(super) fn release(field: &Field<'_>) -> Result<Release, PlanError> {
    let release = field.section(&["what", "to"])?;
    Ok(Release {
        what: release.or("what", Released::Last, |f| {
            f.choice(&[("last", Released::Last), ("best", Released::Best), ("each", Released::Each)])
        })?,
        to: to(&release.required("to")?)?,
    })
}

fn to(field: &Field<'_>) -> Result<ReleaseTo, PlanError> {
    let Value::Text(text) = field.value() else {
        return Err(field.wrong(TAKES).with_hint(matches!(field.value(), Value::Map(_)).then(no_space)));
    };
    match text.as_str() {
        "members" => Ok(ReleaseTo::Members),
        "host" => Ok(ReleaseTo::Host),
        _ => match text.strip_prefix("key:") {
            Some(key) => key.parse().map(ReleaseTo::Key).map_err(|e| {
                let hint = "`fl-host model key` makes a key pair and prints the public one".to_owned();
                field.error(format!("{} is {}: {e}", field.path, quoted(text))).with_hint(Some(hint))
            }),
            None => {
                let message = format!("{} is {}; it takes {TAKES}", field.path, quoted(text));
                let near = did_you_mean(text, ["members", "host"].into_iter());
                Err(field.error(message).with_hint(near))
            }
        },
    }
}

fn no_space() -> String {
    "write key:PUBLIC_KEY without a space".to_owned()
}

const TAKES: &str = "one of members, host, key:PUBLIC_KEY";
