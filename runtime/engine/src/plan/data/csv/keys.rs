//! The keys of `data` beside `loader: csv`.

use super::{CLASS, DECIMALS, NUMBER, REFUSE, SEPARATORS};
use crate::settings::{Absent, Key, Takes, Text};

pub(in crate::plan::data) const CSV: &[Key] = &[
    Key {
        name: "file",
        takes: FILE,
        absent: Absent::Refused,
        meaning: "The CSV file. A file that gzip has compressed is read, too.",
        example: "data.csv",
    },
    Key {
        name: "header",
        takes: Takes::Flag,
        absent: Absent::Default("true"),
        meaning: "Whether the first line names the columns.",
        example: "false",
    },
    Key {
        name: "label",
        takes: Takes::Other {
            kind: "a column's name, or its index from 0 (negative: from the end)",
            words: &[],
        },
        absent: Absent::Refused,
        meaning: "The column of the label.",
        example: "diagnosis",
    },
    Key {
        name: "features",
        takes: Takes::List {
            kind: "a list of columns' names",
            of: &Takes::Text(Text::Any("name of a column")),
        },
        absent: Absent::Means("every column but the label and `ignore`, in the order of each file"),
        meaning: "The columns of the features, in the order of the model's input. Each site finds the columns by name, so \
                  the order in its file does not matter. A column that is missing, doubled, or neither here nor in `ignore` \
                  is refused.",
        example: "[age, weight]",
    },
    Key {
        name: "ignore",
        takes: Takes::List {
            kind: "a list of columns' names; a final * stands for any ending",
            of: &Takes::Text(Text::Any("name of a column")),
        },
        absent: Absent::Default("[]"),
        meaning: "Columns that are not read, such as an index. A file may lack them. `*` alone ignores every column that \
                  no other key names.",
        example: "[id, \"note*\"]",
    },
    Key {
        name: "separator",
        takes: Takes::Word(SEPARATORS),
        absent: Absent::Default("comma"),
        meaning: "What stands between two cells of a line. The character itself in quotes says the same as its word.",
        example: "semicolon",
    },
    Key {
        name: "decimal",
        takes: Takes::Word(DECIMALS),
        absent: Absent::Default("point"),
        meaning: "What stands before the fraction of a number.",
        example: "comma",
    },
    Key {
        name: "skip",
        takes: Takes::Whole { least: 0, most: 1000, unit: "lines" },
        absent: Absent::Default("0"),
        meaning: "How many lines stand before the header or, without a header, before the first row.",
        example: "1",
    },
    Key {
        name: "label_file",
        takes: FILE,
        absent: Absent::Means("the labels are in `file`"),
        meaning: "A second file of the same form with the labels, in the order of the samples. `label` is a column of this \
                  file.",
        example: "targets.csv",
    },
    Key {
        name: "labels",
        takes: Takes::Names { kind: "a map from a label's text to the index of its class", of: &CLASS },
        absent: Absent::Default("{}"),
        meaning: "The class of each label. Without the key, a label is the index itself.",
        example: "{B: 0, M: 1}",
    },
    Key {
        name: "categories",
        takes: Takes::Names {
            kind: "a map from a column's name to its categories",
            of: &Takes::Names {
                kind: "a map from a text to its number, or a list of texts, each of which becomes a feature of 0 or 1",
                of: &NUMBER,
            },
        },
        absent: Absent::Default("{}"),
        meaning: "Columns whose values are texts, with the texts that may appear. A row with another text is refused.",
        example: "{sex: {male: 0, female: 1}, island: [Biscoe, Dream, Torgersen]}",
    },
    Key {
        name: "missing",
        takes: Takes::Section(MISSING),
        absent: Absent::Default(REFUSE),
        meaning: "What becomes of missing values: `refuse`, or a map with one or both of the keys below. A cell is missing \
                  if it is empty or has a word for it, such as NA, NaN, null or ?. The chapter `data_files` lists \
                  all words for a missing cell.",
        example: "{fill: mean}",
    },
];

pub(super) const MISSING: &[Key] = &[
    Key {
        name: "fill",
        takes: Takes::Names {
            kind: "a number for every column, a map from a column's name to its number, or the word mean",
            of: &NUMBER,
        },
        absent: Absent::Means("no value takes the place of a missing one"),
        meaning: "What takes the place of a missing feature. `mean` is the column's mean in `standardise`. A column with a \
                  list of categories becomes 0 in all of them. A missing label is never filled.",
        example: "{age: 40}",
    },
    Key {
        name: "drop_row",
        takes: Takes::Whole { least: 0, most: 1_000_000_000, unit: "rows" },
        absent: Absent::Default("0"),
        meaning: "The most rows that a site may leave out because a value is missing that `fill` does not fill. A file with \
                  more such rows is refused.",
        example: "20",
    },
];

pub(in crate::plan::data) const FILE: Takes = Takes::Text(Text::Any("name of a file in the data folder"));
