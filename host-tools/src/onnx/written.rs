//! A model as a plan writes it: `model:` with a line for each layer. Settings are left out that say what
//! their absence says.

use std::{collections::BTreeMap, fmt::Write as _};

use fl_engine::{
    model::{Layer, ModelSpec},
    plan::{Absent, reference},
};
use serde_json::Value;

/// The lines of `model:`, with a comment for readers of the plan.
#[must_use]
pub fn written(spec: &ModelSpec, comment: &str) -> String {
    let defaults = defaults();
    let mut out = format!("model: # {comment}\n  input: {:?}\n  layers:\n", spec.input);
    let chain = |index: usize| vec![index as u32];
    let from: Vec<Vec<u32>> = (0..spec.layers.len())
        .map(|index| spec.from.get(index).cloned().unwrap_or_else(|| chain(index)))
        .collect();
    // A layer needs a label if another one than the next takes it, or if it is taken beside others.
    let mut labels: BTreeMap<u32, String> = BTreeMap::from([(0, "input".to_owned())]);
    let mut named: Vec<u32> = from
        .iter()
        .enumerate()
        .filter(|(index, from)| **from != [*index as u32])
        .flat_map(|(_, from)| from.iter().copied().filter(|place| *place > 0))
        .collect();
    named.sort_unstable();
    named.dedup();
    labels.extend(named.into_iter().zip(1..).map(|(place, number)| (place, format!("x{number}"))));
    for (index, layer) in spec.layers.iter().enumerate() {
        let mut beside = String::new();
        let place = index as u32 + 1;
        if let Some(label) = labels.get(&place) {
            let _ = write!(beside, ", as: {label}");
        }
        // A layer that takes nothing says so by its kind.
        if from[index] != [index as u32] && !from[index].is_empty() {
            let of: Vec<&str> =
                from[index].iter().filter_map(|place| labels.get(place)).map(String::as_str).collect();
            let of = if let [one] = *of.as_slice() { one.to_owned() } else { format!("[{}]", of.join(", ")) };
            let _ = write!(beside, ", from: {of}");
        }
        let _ = writeln!(out, "  - {}", entry(layer, &beside, &defaults));
    }
    out
}

/// One layer: `relu`, `{relu: , as: x1}` or `{linear: {name: fc, out: 4}}`.
fn entry(layer: &Layer, beside: &str, defaults: &BTreeMap<String, &'static str>) -> String {
    let word = layer.word();
    let settings = match serde_json::to_value(layer) {
        Ok(Value::Object(map)) => map.into_iter().next().map(|(_, settings)| settings),
        _ => None,
    };
    let mut shown: Vec<(&String, String)> = settings
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key, text(value)))
        .filter(|(key, value)| defaults.get(&format!("{word}.{key}")).is_none_or(|default| default != value))
        .collect();
    // The name first, then what is said most often.
    let order = ["name", "out", "kernel", "stride", "padding"];
    shown.sort_by_key(|(key, _)| order.iter().position(|first| first == key).unwrap_or(order.len()));
    let shown: Vec<String> = shown.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
    match (shown.is_empty(), beside.is_empty()) {
        (true, true) => word.to_owned(),
        (true, false) => format!("{{{word}: {beside}}}"),
        (false, _) => format!("{{{word}: {{{}}}{beside}}}", shown.join(", ")),
    }
}

/// The settings of layers that may be left out, as `conv2d.stride`, with what their absence says.
fn defaults() -> BTreeMap<String, &'static str> {
    let mut found = BTreeMap::new();
    for key in reference() {
        let setting = key.path.strip_prefix("model.layers[].").map(str::to_owned);
        if let (Some(setting), Absent::Default(value)) = (setting, key.absent) {
            found.insert(setting, value);
        }
    }
    found
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(text).collect::<Vec<_>>().join(", ")),
        // As short as the number can be said, whether it has 32 bits or 64.
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) if f64::from(number as f32) == number => format!("{}", number as f32),
            Some(number) => format!("{number}"),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// Whether YAML reads a name as text that has no quotes.
fn is_plain(name: &str) -> bool {
    let begins = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    let safe = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    begins && safe && !words.contains(&name.to_ascii_lowercase().as_str())
}
