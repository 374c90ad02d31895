//! Tags and numbers of everything in a plan. Appended to, never edited: see the parent module.

use super::value::{Canonical, Cut, Fields, choice, framed, record};
use crate::{
    model::{Layer, ModelSpec, Span, Steps, Upsampling},
    plan::{
        Attestation, Augment, Backend, BestModel, By, Category, Coding, Colour, Column, CsvSpec, DataSpec,
        Decimal, Direction, ExactRange, Federated, Fill, Fit, Interpolation, Keep, LabelCode, Loader, Loss,
        Metric, MetricsTo, Missing, ModelUnderTest, NamedNumber, OfAggregator, OfCollaborators, Optimiser,
        OptimiserState, PictureLabel, PictureOrder, PictureSpec, PlanDraft, Quorum, Release, ReleaseTo,
        Released, Rows, Rule, Schedule, Scope, Seal, Separator, Server, Short, Split, Standardise, Stop,
        TaskGroup, TaskKind, TaskSpec, Threads, Threshold, TrainLength, TrainSpec, When,
    },
};

record!(PlanDraft {
    1 federation,
    2 ca,
    3 rounds,
    4 seed,
    5 model,
    6 data,
    7 tasks,
    8 groups,
    9 quorum,
    10 sample,
    11 optimiser_state,
    12 hold_out,
    13 exact,
    14 best,
    15 memory_budget,
    16 spill_budget,
    17 threads,
    18 metrics,
    19 release,
    20 seal = Seal::Enclave,
    21 row_limit,
    22 keep,
    23 stop,
    // An exception to "never edited": the default was `Burn` once. No released version has that default.
    24 backend = Backend::Own,
    25 attestation = Attestation::NONE,
});

record!(Attestation { 1 aggregator, 2 collaborators });

choice!(OfAggregator { 0 None, 1 Required });

choice!(OfCollaborators { 0 None, 1 Optional, 2 Required });

record!(Stop { 1 patience, 2 target });

record!(ModelSpec { 1 input, 2 layers, 3 from = Vec::<Vec<u32>>::new() });

choice!(Layer {
    0 Linear { 1 name, 2 out, 3 bias },
    1 Conv2d { 1 name, 2 out, 3 kernel, 4 stride, 5 padding, 6 bias, 7 dilation = Span([1; 2]), 8 groups = 1 },
    2 ConvTranspose2d {
        1 name, 2 out, 3 kernel, 4 stride, 5 padding, 6 bias, 7 dilation = Span([1; 2]), 8 groups = 1,
        9 output_padding = Span([0; 2]),
    },
    3 BatchNorm { 1 name, 2 eps = 1e-5, 3 momentum = 0.1, 4 count = false },
    4 MaxPool { 1 kernel, 2 stride, 3 padding = Span([0; 2]), 4 ceil = false },
    5 AvgPool { 1 kernel, 2 stride, 3 padding = Span([0; 2]), 4 ceil = false, 5 count_pad = true },
    6 Dropout { 1 p },
    7 Relu,
    8 Gelu,
    9 Sigmoid,
    10 Tanh,
    11 Flatten,
    12 Add,
    13 Sub,
    14 Mul,
    15 Concat { 1 axis },
    16 Pad { 1 by },
    17 PadTo,
    18 Crop { 1 by },
    19 Upsample { 1 mode, 2 scale, 3 size, 4 corners },
    20 AdaptiveAvgPool { 1 size },
    21 Conv1d { 1 name, 2 out, 3 kernel, 4 stride, 5 padding, 6 bias, 7 dilation, 8 groups },
    22 LeakyRelu { 1 slope },
    23 Silu,
    24 HardSwish,
    25 HardSigmoid,
    26 Softmax { 1 axis },
    27 LogSoftmax { 1 axis },
    28 Relu6,
    29 Elu { 1 alpha },
    30 LayerNorm { 1 name, 2 axes, 3 eps },
    31 GroupNorm { 1 name, 2 groups, 3 eps },
    32 Reshape { 1 shape },
    33 Permute { 1 order },
    34 Slice { 1 axis, 2 start, 3 end, 4 step },
    35 Select { 1 axis, 2 index },
    36 Mean { 1 axes, 2 keep },
    37 Max { 1 axes, 2 keep },
    38 Scale { 1 by },
    39 Parameter { 1 name, 2 shape, 3 batch, 4 start },
    40 PRelu { 1 name, 2 slopes },
    41 Matmul,
    42 Embedding { 1 name, 2 rows, 3 width },
    43 GeluTanh,
    44 InstanceNorm { 1 eps },
    45 ConvTranspose1d {
        1 name, 2 out, 3 kernel, 4 stride, 5 padding, 6 bias, 7 dilation, 8 groups, 9 output_padding,
    },
    46 Lstm { 1 name, 2 hidden, 3 layers, 4 bidirectional, 5 bias, 6 take, 7 dropout },
    47 Gru { 1 name, 2 hidden, 3 layers, 4 bidirectional, 5 bias, 6 take, 7 dropout },
    48 Attention { 1 name, 2 heads, 3 bias, 4 dropout, 5 causal },
});

choice!(Upsampling { 0 Nearest, 1 Bilinear });

choice!(Steps { 0 Sequence, 1 Last });

record!(DataSpec { 1 loader, 2 standardise, 3 split, 4 classes, 5 federated });

record!(Federated { 1 least });

choice!(Loader {
    0 Csv[spec],
    1 Npy { 1 features, 2 labels },
    2 Idx { 1 features, 2 labels },
    3 Custom { 1 name },
    4 Pictures(spec),
});

record!(PictureSpec {
    1 folder,
    2 label,
    3 labels = Vec::new(),
    4 colour,
    5 bits = 8,
    6 fit = Fit::AsIs,
    7 interpolation = Interpolation::Bilinear,
    8 augment = Augment::default(),
    9 skip = 0,
    10 cache = PictureSpec::CACHE,
    11 order = PictureOrder::Shuffled,
});

choice!(PictureLabel { 0 Folders, 1 Table { 1 file, 2 name, 3 label }, 2 Masks { 1 folder, 2 channel } });

choice!(Colour { 0 Grey, 1 Rgb });

choice!(Fit { 0 AsIs, 1 Resize, 2 Crop, 3 Pad });

choice!(Interpolation { 0 Bilinear, 1 Nearest });

choice!(PictureOrder { 0 Shuffled, 1 ByName });

record!(Augment {
    1 flip_horizontal = false,
    2 flip_vertical = false,
    3 quarter_turns = false,
    4 shift = 0,
    5 brightness = 0.0,
});

record!(CsvSpec {
    1 file,
    2 header,
    3 label,
    4 features,
    5 ignore = Vec::<String>::new(),
    6 separator = Separator::Comma,
    7 decimal = Decimal::Point,
    8 skip = 0,
    9 label_file,
    10 labels = Vec::new(),
    11 categories = Vec::new(),
    12 missing = Missing::default(),
});

choice!(Column { 0 Name(name), 1 Index(index) });

choice!(Separator { 0 Comma, 1 Semicolon, 2 Tab, 3 Space, 4 Pipe });

choice!(Decimal { 0 Point, 1 Comma });

record!(LabelCode { 1 text, 2 class });

record!(Category { 1 column, 2 coding });

choice!(Coding { 0 Numbers(numbers), 1 OneHot(texts) });

record!(NamedNumber { 1 name, 2 number });

record!(Missing { 1 fill, 2 drop_row = 0 });

choice!(Fill { 0 Number(number), 1 Mean, 2 Columns(columns) });

record!(Standardise { 1 mean, 2 std, 3 mean_rest = Vec::<f32>::new() });

record!(Split { 1 train, 2 validation, 3 test });

record!(TaskSpec {
    1 name,
    2 kind,
    3 metrics,
    4 server,
    5 threshold,
    6 rows = Rows::Validation,
    7 when = When::Always,
    8 loss,
});

choice!(Rows { 0 Validation, 1 Test });

choice!(When { 0 Always, 1 End });

choice!(TaskKind {
    0 Train(spec),
    1 Validate(model),
    2 Synthetic { 1 weight, 2 rule },
    3 Custom { 1 name, 2 rule },
});

choice!(ModelUnderTest { 0 Aggregated, 1 LocallyTuned });

record!(TrainSpec {
    1 length,
    2 batch,
    3 optimiser,
    4 loss,
    5 fedprox_mu,
    6 rule,
    7 schedule,
    8 clip_norm,
    9 accumulate = 1,
    10 freeze = Vec::<String>::new(),
});

choice!(Schedule {
    0 Constant { 1 warm_up, 2 by },
    1 Step { 1 every, 2 factor, 3 warm_up, 4 by },
    2 Cosine { 1 least, 2 warm_up, 3 by },
});

choice!(By { 0 Rounds, 1 Steps });

choice!(TrainLength { 0 Epochs(epochs), 1 Steps(steps) });

choice!(Optimiser {
    0 Sgd { 1 learning_rate, 2 momentum, 3 weight_decay },
    1 Adam { 1 learning_rate },
    2 AdamW { 1 learning_rate, 2 weight_decay },
});

choice!(Loss {
    0 CrossEntropy { 1 weights = Vec::<f64>::new(), 2 smoothing = 0.0 },
    1 BinaryCrossEntropy,
    2 Mse,
    3 Dice { 1 logits },
    4 BceDice,
    5 Focal { 1 gamma, 2 alpha },
    6 L1,
    7 Huber { 1 delta },
});

choice!(Metric {
    0 Accuracy,
    1 Loss,
    2 Auc,
    3 Rmse,
    4 Dice,
    5 Iou,
    6 F1,
    7 Sensitivity,
    8 Specificity,
    9 Precision,
    10 Top2,
    11 Top3,
    12 Top5,
    13 Top10,
    14 Mae,
    15 R2,
});

choice!(Rule {
    0 WeightedMean,
    1 Mean,
    2 ClippedMean { 1 norm },
    3 Median,
    4 WeightedMedian,
    5 TrimmedMean { 1 trim },
    6 Krum { 1 byzantine },
    7 MultiKrum { 1 byzantine, 2 keep },
    8 Bulyan { 1 byzantine },
    9 GeometricMedian { 1 iterations, 2 smoothing, 3 scope },
    10 Custom { 1 name },
});

choice!(Scope { 0 Model, 1 Tensor });

choice!(Server {
    0 FedAvgM { 1 learning_rate, 2 momentum },
    1 FedAdagrad { 1 learning_rate, 2 beta1, 3 tau },
    2 FedAdam { 1 learning_rate, 2 beta1, 3 beta2, 4 tau },
    3 FedYogi { 1 learning_rate, 2 beta1, 3 beta2, 4 tau },
    4 Smoothing { 1 keep },
});

record!(Threshold { 1 task, 2 metric, 3 bound, 4 direction });

record!(TaskGroup { 1 name, 2 collaborators, 3 tasks });

record!(Quorum { 1 count_min, 2 count_max, 3 time_min, 4 time_max, 5 short = Short::Wait });

choice!(Short { 0 Wait, 1 End });

choice!(OptimiserState { 0 Reset, 1 ContinueLocal, 2 ContinueGlobal });

record!(ExactRange { 1 value_bits, 2 weight_bits });

record!(BestModel { 1 task, 2 metric, 3 direction, 4 against_habit = false });

choice!(Direction { 0 Max, 1 Min });

record!(Threads { 1 link, 2 cpu });

choice!(MetricsTo { 0 Host, 1 Members, 2 None });

record!(Release { 1 what, 2 to });

record!(Keep { 1 every, 2 most });

choice!(Released { 0 Last, 1 Best, 2 Each });

choice!(ReleaseTo { 0 Members, 1 Key(key), 2 Host });

choice!(Seal { 0 Enclave, 1 Signer });

choice!(Backend { 0 Own, 1 Burn });
