//! A resolved plan in a dozen lines.

use std::fmt::Write as _;

use fl_engine::{
    ByteCount, Name,
    aggregate::state_layout,
    plan::{
        Aggregation, Attestation, Augment, Category, Coding, Column, CsvSpec, Decimal, Federated, Fill, Fit,
        Loader, Loss, Optimiser, PictureLabel, PictureOrder, PictureSpec, Rows, Schedule, Seal, Separator,
        TaskKind, TaskSpec, TrainLength, TrainSpec, When,
    },
};

use super::Loaded;

/// What the plan says once its defaults are filled in, and the tensors of its model.
#[must_use]
pub fn summary(loaded: &Loaded) -> String {
    let Loaded { plan, hash, layout } = loaded;
    let mut out = String::new();
    let mut line = |key: &str, text: String| {
        let _ = writeln!(out, "{key:<12}{text}");
    };
    line("plan", hash.to_string());
    line("federation", plan.federation.to_string());
    line("ca", plan.ca.map_or_else(|| "none yet".to_owned(), |ca| ca.to_string()));
    line("rounds", format!("{}, seed {}", plan.rounds, plan.seed));
    line("model", format!("{:?} in, {} layers", plan.model.input, plan.model.layers.len()));
    for tensor in layout.tensors() {
        line("", format!("{} {:?}", tensor.name, tensor.shape));
    }
    let (tensors, elements) = (layout.tensors().len(), layout.f32_len() + layout.i64_len());
    line("", format!("{tensors} tensors, {elements} elements, {} B", layout.byte_len()));
    if !plan.hold_out.is_empty() {
        line("held out", plan.hold_out.join(", "));
    }
    line("data", loader(&plan.data.loader));
    let split = plan.data.split;
    line("", format!("train {}, validation {}, test {}", split.train, split.validation, split.test));
    if let Some(Federated { least }) = plan.data.federated {
        let what =
            format!("each site sends count, sum and sum of squares of features with {least} rows or more");
        line("", format!("standardise: {what}"));
    }
    for task in &plan.tasks {
        line("task", format!("{}: {}", task.name, kind(task)));
    }
    aggregation(loaded).into_iter().for_each(|(key, text)| line(key, text));
    for group in &plan.groups {
        let members = group.collaborators.as_deref().map_or_else(|| "everyone".to_owned(), names);
        line("group", format!("{}: {members}: {}", group.name, names(&group.tasks)));
    }
    let quorum = plan.quorum;
    let most = quorum.count_max.map_or_else(|| "all".to_owned(), |max| max.to_string());
    let times = format!("{} to {}", quorum.time_min, quorum.time_max);
    line("quorum", format!("{} to {most} collaborators, {times}", quorum.count_min));
    line("sample", plan.sample.map_or_else(|| "all".to_owned(), |k| format!("{k} a round")));
    line("optimiser", plan.optimiser_state.word().to_owned());
    line("exact", format!("{} value bits, {} weight bits", plan.exact.value_bits, plan.exact.weight_bits));
    let best = &plan.best;
    line("best", format!("{} of {}, {}", best.metric.word(), best.task, best.direction.word()));
    if let Some(stop) = plan.stop {
        let patience = stop.patience.map(|rounds| format!("after {rounds} rounds without a better model"));
        let target = stop.target.map(|value| format!("at {} {value}", best.metric.word()));
        line("stop", [patience, target].into_iter().flatten().collect::<Vec<_>>().join(", or "));
    }
    let rows = plan.most_rows();
    line("limits", format!("memory {}, spill {}, {rows} rows a site", plan.memory_budget, plan.spill_budget));
    line("threads", format!("link {}, cpu {}", plan.threads.link, plan.threads.cpu));
    line("metrics", plan.metrics.word().to_owned());
    line("release", plan.release.map_or_else(|| "nothing".to_owned(), |release| release.to_string()));
    line("seal", plan.seal.to_string());
    if plan.attestation != Attestation::NONE {
        let signer = match plan.seal {
            Seal::Signer => {
                "; every image of the signer can read a role's key, and a quote still tells images apart"
            }
            _ => "",
        };
        line("attestation", format!("{}{signer}", plan.attestation));
    }
    if let Some((_, _, text)) = kept(loaded) {
        line("keep", text);
    }
    out
}

/// How many rounds the aggregator keeps at most, and the bytes of their files; `None` for a plan that keeps
/// the last two rounds alone.
#[must_use]
pub fn kept(loaded: &Loaded) -> Option<(u32, ByteCount, String)> {
    let plan = &loaded.plan;
    let keep = plan.keep?;
    let files = keep.files(plan.rounds);
    let server = plan.aggregation().and_then(|aggregation| aggregation.server);
    let state = server.and_then(|server| state_layout(server, &loaded.layout).ok()?);
    // Beside each round, the model that was the best then, if it is another one than before.
    let round = 2 * loaded.layout.byte_len() + state.map_or(0, |layout| layout.byte_len());
    let bytes = ByteCount(u64::from(files) * round as u64);
    let rounds = if files == 1 { "round" } else { "rounds" };
    let text = format!("{keep}: at most {files} {rounds} and as many best models in save/kept, {bytes}");
    Some((files, bytes, text))
}

/// The largest share of a round's weight that one collaborator can get by its claim, and what it takes;
/// `None` for a plan without updates.
#[must_use]
pub fn largest_share(loaded: &Loaded) -> Option<(f64, String)> {
    let plan = &loaded.plan;
    let rule = plan.aggregation()?.rule;
    let others = u64::from(plan.quorum.count_min.saturating_sub(1));
    if !rule.counts_weights() || others == 0 {
        let why = match others {
            0 => "a round may have one update alone (quorum.count.min 1)".to_owned(),
            _ => format!("every update of a round counts the same (rule {})", rule.word()),
        };
        let share = 1.0 / (others + 1) as f64;
        return Some((share, format!("{:.1} %: {why}", 100.0 * share)));
    }
    let rows = u64::from(plan.most_rows());
    let share = rows as f64 / (rows + others) as f64;
    let from =
        if plan.row_limit.is_some() { "limits.rows" } else { "exact.weight_bits; limits.rows lowers it" };
    let text = format!(
        "{:.1} %: in a round of {} updates, one site may claim {rows} rows ({from}), and each other site one row. A site has \
         over half of the round unless the others claim {rows} rows together",
        100.0 * share,
        others + 1
    );
    Some((share, text))
}

/// How updates become the next model, in words under the plan's keys; nothing for a plan without updates.
#[must_use]
pub fn aggregation(loaded: &Loaded) -> Vec<(&'static str, String)> {
    let Some(Aggregation { rule, server, threshold }) = loaded.plan.aggregation() else { return Vec::new() };
    let mut lines = vec![("rule", rule.to_string())];
    lines.extend(server.map(|server| ("server", server.to_string())));
    lines.extend(threshold.map(|threshold| ("threshold", threshold.to_string())));
    lines
}

fn names(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

fn loader(loader: &Loader) -> String {
    match loader {
        Loader::Csv(spec) => csv(spec),
        Loader::Npy { features, labels } => format!("npy {features}, {labels}"),
        Loader::Idx { features, labels } => format!("idx {features}, {labels}"),
        Loader::Pictures(spec) => pictures(spec),
        Loader::Custom { name } => format!("custom {name}"),
        other => format!("{other:?}"),
    }
}

/// `pictures of images, masks of masks, resized`.
fn pictures(spec: &PictureSpec) -> String {
    let mut out = format!("pictures of {}", spec.folder.as_deref().unwrap_or("the data folder"));
    let mut add = |there: bool, text: String| {
        if there {
            out += &format!(", {text}");
        }
    };
    match &spec.label {
        PictureLabel::Folders => add(true, "a folder for each class".to_owned()),
        PictureLabel::Table { file, name, label } => {
            add(true, format!("label {label:?} of {name:?} in {file}"))
        }
        PictureLabel::Masks { folder, channel } => {
            let channel = channel.map_or_else(String::new, |channel| format!(", channel {channel}"));
            add(true, format!("masks of {folder}{channel}"));
        }
    }
    let labels: Vec<String> =
        spec.labels.iter().map(|code| format!("{:?} {}", code.text, code.class)).collect();
    add(!labels.is_empty(), format!("labels {}", labels.join(", ")));
    add(spec.colour.is_some(), spec.colour.map_or("", |colour| colour.word()).to_owned());
    add(spec.bits != 8, format!("{} bits", spec.bits));
    add(true, format!("fit {}", spec.fit.word()));
    add(spec.fit == Fit::Resize, spec.interpolation.word().to_owned());
    let Augment { flip_horizontal, flip_vertical, quarter_turns, shift, brightness } = spec.augment;
    add(flip_horizontal, "flipped left to right".to_owned());
    add(flip_vertical, "flipped top to bottom".to_owned());
    add(quarter_turns, "turned".to_owned());
    add(shift > 0, format!("moved by up to {shift} pixels"));
    add(brightness > 0.0, format!("brightness changed by up to {brightness}"));
    add(spec.skip > 0, format!("up to {} bad samples left out", spec.skip));
    add(true, format!("at most {} of decoded pictures in memory", spec.cache));
    add(spec.order == PictureOrder::ByName, "split in the order of the names".to_owned());
    out
}

/// `csv data.csv, with header, label "y", 2 features by name: a, b`.
fn csv(spec: &CsvSpec) -> String {
    let label = match &spec.label {
        Column::Name(name) => format!("{name:?}"),
        Column::Index(index) => index.to_string(),
    };
    let header = if spec.header { "with" } else { "without" };
    let mut out = format!("csv {}, {header} header, label {label}", spec.file);
    let mut add = |there: bool, text: String| {
        if there {
            out += &format!(", {text}");
        }
    };
    add(spec.label_file.is_some(), format!("of {}", spec.label_file.as_deref().unwrap_or_default()));
    add(spec.separator != Separator::Comma, format!("separator {}", spec.separator.word()));
    add(spec.decimal != Decimal::Point, format!("decimal {}", spec.decimal.word()));
    add(spec.skip > 0, format!("{} lines skipped", spec.skip));
    let quoted = |names: &[String]| names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
    let features = spec.features.as_deref().unwrap_or_default();
    add(!features.is_empty(), format!("{} columns by name: {}", features.len(), quoted(features)));
    add(!spec.ignore.is_empty(), format!("ignored: {}", quoted(&spec.ignore)));
    let labels: Vec<String> =
        spec.labels.iter().map(|code| format!("{:?} {}", code.text, code.class)).collect();
    add(!labels.is_empty(), format!("labels {}", labels.join(", ")));
    for Category { column, coding } in &spec.categories {
        let texts = match coding {
            Coding::Numbers(codes) => codes.iter().map(|c| format!("{:?} {}", c.name, c.number)).collect(),
            Coding::OneHot(texts) => vec![format!("one feature each of {}", quoted(texts))],
        };
        add(true, format!("categories of {column:?}: {}", texts.join(", ")));
    }
    let fill = match &spec.missing.fill {
        None => String::new(),
        Some(Fill::Number(number)) => format!("missing values become {number}"),
        Some(Fill::Mean) => "missing values become the mean".to_owned(),
        Some(Fill::Columns(columns)) => {
            let each = columns.iter().map(|c| format!("{:?} {}", c.name, c.number)).collect::<Vec<_>>();
            format!("missing values become {}", each.join(", "))
        }
    };
    add(!fill.is_empty(), fill);
    let drop = spec.missing.drop_row;
    add(drop > 0, format!("at most {drop} rows with missing values are left out"));
    out
}

fn kind(task: &TaskSpec) -> String {
    let metrics = task.metrics.iter().map(|m| m.word()).collect::<Vec<_>>().join(", ");
    let metrics = if metrics.is_empty() { String::new() } else { format!("; reports {metrics}") };
    let what = match &task.kind {
        TaskKind::Train(spec) => {
            let length = match spec.length {
                TrainLength::Epochs(1) => "1 epoch".to_owned(),
                TrainLength::Epochs(n) => format!("{n} epochs"),
                TrainLength::Steps(n) => format!("{n} steps"),
            };
            let optimiser = match spec.optimiser {
                Optimiser::Sgd { learning_rate, momentum, weight_decay } => {
                    format!("sgd {learning_rate}, momentum {momentum}, weight decay {weight_decay}")
                }
                Optimiser::Adam { learning_rate } => format!("adam {learning_rate}"),
                Optimiser::AdamW { learning_rate, weight_decay } => {
                    format!("adamw {learning_rate}, weight decay {weight_decay}")
                }
                other => format!("{other:?}"),
            };
            let proximal =
                if spec.fedprox_mu > 0.0 { format!(", FedProx {}", spec.fedprox_mu) } else { String::new() };
            let habits = habits(spec);
            format!(
                "train {length} of batches of {}, {optimiser}, {}{proximal}{habits}",
                spec.batch,
                loss(&spec.loss)
            )
        }
        TaskKind::Validate(model) => {
            let rows = if task.rows == Rows::Test { " on test rows" } else { "" };
            let when = if task.when == When::End { " at the end" } else { "" };
            let read_by = task.loss.as_ref().map_or_else(String::new, |of| format!(", {}", loss(of)));
            format!("validate {}{rows}{when}{read_by}", model.word())
        }
        TaskKind::Synthetic { weight, .. } => format!("synthetic, weight {weight}"),
        TaskKind::Custom { name, rule } => {
            format!("custom {name}{}", if rule.is_some() { ", sends an update" } else { "" })
        }
        other => format!("{other:?}"),
    };
    what + &metrics
}

/// `cross_entropy, smoothing 0.1`.
fn loss(loss: &Loss) -> String {
    let settings = match loss {
        Loss::CrossEntropy { weights, smoothing } => {
            let weights = if weights.is_empty() { String::new() } else { format!(", weights {weights:?}") };
            let smoothing = if *smoothing > 0.0 { format!(", smoothing {smoothing}") } else { String::new() };
            weights + &smoothing
        }
        Loss::Dice { logits: true } => " of logits".to_owned(),
        Loss::Focal { gamma, alpha } => format!(", gamma {gamma}, alpha {alpha}"),
        Loss::Huber { delta } => format!(", delta {delta}"),
        _ => String::new(),
    };
    format!("{}{settings}", loss.word())
}

/// What changes a training beside its optimiser and loss: `, cosine to 0.01 by rounds, warm-up 2`.
fn habits(spec: &TrainSpec) -> String {
    let mut out = String::new();
    if let Some(schedule) = &spec.schedule {
        let shape = match schedule {
            Schedule::Constant { .. } => "constant rate".to_owned(),
            Schedule::Step { every, factor, .. } => format!("rate times {factor} each {every}"),
            Schedule::Cosine { least, .. } => format!("cosine to {least} of the rate"),
        };
        out += &format!(", {shape} by {}, warm-up {}", schedule.by().word(), schedule.warm_up());
    }
    if let Some(norm) = spec.clip_norm {
        out += &format!(", gradients clipped to {norm}");
    }
    if spec.accumulate > 1 {
        out += &format!(", {} batches a step", spec.accumulate);
    }
    if !spec.freeze.is_empty() {
        out += &format!(", freezes {}", spec.freeze.join(", "));
    }
    out
}
