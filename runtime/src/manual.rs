//! The manual: how to run a federation, what each file and word means, and how the program is made.
//!
//! Each chapter is a Markdown file in `manual/`. A repository's browser shows the file, rustdoc includes it,
//! and [`CHAPTERS`] holds its text for programs that print it. Where a chapter and the code differ, the
//! chapter is wrong.
//!
//! A chapter's links name files, so that they work in a browser. rustdoc takes the first definition of a
//! link: the one above the chapter below, which leads to the documentation of the item.

/// One chapter of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chapter {
    /// Its file's name without `.md`.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

impl Chapter {
    /// What the chapter is about, in one sentence: its first paragraph.
    #[must_use]
    pub fn about(&self) -> String {
        let lines = self.text.lines().skip(1).skip_while(|line| line.is_empty());
        lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

macro_rules! chapters {
    ($($(#[$links:meta])* $name:ident;)*) => {
        $(
            $(#[$links])*
            #[doc = include_str!(concat!("manual/", stringify!($name), ".md"))]
            pub mod $name {}
        )*

        /// Every chapter, in the order in which a newcomer reads them.
        pub const CHAPTERS: &[Chapter] = &[$(Chapter {
            name: stringify!($name),
            text: include_str!(concat!("manual/", stringify!($name), ".md")),
        },)*];
    };
}

chapters! {
    /// [data_files]: data_files
    /// [exit_codes]: exit_codes
    /// [operating]: operating
    /// [plan_reference]: plan_reference
    quick_start;

    /// [`Counted`]: fl_engine::wire::Counted
    /// [aggregation]: aggregation
    /// [enclaves]: enclaves
    /// [owners_key]: owners_key
    /// [threat_model]: threat_model
    /// [who_waits]: who_waits
    operating;

    /// [quick_start]: quick_start
    owners_key;

    /// [exit_codes]: exit_codes
    /// [files]: files
    /// [quick_start]: quick_start
    withdrawn_site;

    /// [operating]: operating
    /// [plan_reference]: plan_reference
    /// [withdrawn_site]: withdrawn_site
    files;

    /// [plan_reference]: plan_reference
    // Shapes such as [3] are not links.
    #[allow(rustdoc::broken_intra_doc_links)]
    data_files;

    /// [plan_reference]: plan_reference
    // Shapes such as [3, 4, 6] are not links.
    #[allow(rustdoc::broken_intra_doc_links)]
    pictures;

    /// [plan_reference]: plan_reference
    // Shapes such as [features] are not links.
    #[allow(rustdoc::broken_intra_doc_links)]
    models;

    // Shapes such as [3, 64, 64] are not links.
    #[allow(rustdoc::broken_intra_doc_links)]
    own_network;

    /// [exit_codes]: exit_codes
    /// [operating]: operating
    who_waits;

    /// [attestation]: attestation
    exit_codes;

    /// [kvasir]: kvasir
    /// [operating]: operating
    /// [plan_reference]: plan_reference
    /// [training]: training
    /// [writing_your_own]: writing_your_own
    coming_from_openfl;

    plan_reference;

    /// [operating]: operating
    /// [plan_reference]: plan_reference
    /// [training_speed]: training_speed
    // Shapes such as [n] are not links.
    #[allow(rustdoc::broken_intra_doc_links)]
    training;

    /// [training]: training
    training_speed;

    /// [operating]: operating
    /// [pictures]: pictures
    kvasir;

    /// [training]: training
    /// [writing_your_own]: writing_your_own
    aggregation;

    /// [aggregation]: aggregation
    /// [plan_reference]: plan_reference
    writing_your_own;

    /// [operating]: operating
    enclaves;

    /// [exit_codes]: exit_codes
    /// [threat_model]: threat_model
    attestation;

    /// [aggregation]: aggregation
    /// [attestation]: attestation
    threat_model;

    /// [threat_model]: threat_model
    promises;

    /// [`RoundEngine::on`]: fl_engine::round::RoundEngine::on
    /// [`Event`]: fl_engine::round::Event
    /// [`Effect`]: fl_engine::round::Effect
    /// [`STORES_UNDER_WAY`]: fl_engine::limits::STORES_UNDER_WAY
    /// [`Footprint`]: fl_engine::aggregate::Footprint
    /// [aggregation]: aggregation
    architecture;

    /// [`ENVELOPE_BYTES`]: fl_engine::limits::ENVELOPE_BYTES
    /// [`Kind`]: fl_engine::wire::Kind
    /// [`Hello`]: fl_engine::wire::Hello
    /// [`Welcome`]: fl_engine::wire::Welcome
    /// [`Rejected`]: fl_engine::wire::Rejection
    /// [`Assign`]: fl_engine::wire::Assigned
    /// [`Offer`]: fl_engine::round::Offer
    /// [`Grant`]: fl_engine::wire::Granted
    /// [`Refused`]: fl_engine::wire::RefusedUpdate
    /// [why]: fl_engine::round::Refusal
    /// [`Received`]: fl_engine::wire::Received
    /// [`Counted`]: fl_engine::wire::Counted
    /// [`Report`]: fl_engine::round::Report
    /// [`Failed`]: fl_engine::wire::Failed
    /// [`Cancel`]: fl_engine::wire::Cancelled
    /// [`Finished`]: fl_engine::wire::Verdict
    /// [`Leaving`]: fl_engine::wire::Leaving
    /// [`RoundDone`]: fl_engine::wire::RoundDone
    /// [`Columns`]: fl_engine::wire::Columns
    /// [`LeftOut`]: fl_engine::wire::LeftOut
    /// [`Resumed`]: fl_engine::wire::Resumed
    /// [`Stamp`]: fl_engine::round::Stamp
    /// [`PayloadHeader`]: fl_engine::wire::PayloadHeader
    /// [root]: fl_engine::tensor::RootHasher
    /// [`PROGRESS_BYTES`]: fl_engine::limits::PROGRESS_BYTES
    /// [`PROGRESS_WINDOW`]: fl_engine::limits::PROGRESS_WINDOW
    /// [`VERSIONS`]: fl_engine::wire::VERSIONS
    /// [aggregation]: aggregation
    protocol;

    hand_written;

    glossary;

    changes;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::exit::Exit;

    fn chapter(name: &str) -> &'static str {
        CHAPTERS.iter().find(|chapter| chapter.name == name).unwrap().text
    }

    #[test]
    fn every_file_is_a_chapter_with_a_title_and_one_sentence_about_it() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|file| file.strip_suffix(".md").map(str::to_owned))
            .collect();
        assert_eq!(files, CHAPTERS.iter().map(|chapter| chapter.name.to_owned()).collect());
        for chapter in CHAPTERS {
            assert!(chapter.text.starts_with("# "), "{}", chapter.name);
            let about = chapter.about();
            assert!(about.ends_with('.') && about.len() <= 90, "{}: {about}", chapter.name);
        }
    }

    #[test]
    fn exit_codes_have_a_paragraph_each_under_their_number_and_meaning() {
        let text = chapter("exit_codes");
        let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, Exit::ALL.map(|exit| format!("{}: {}", exit as u8, exit.meaning())));
        for section in text.split("\n## ").skip(1) {
            for part in ["\n- **What happened.** ", "\n- **Who acts.** ", "\n- **Supervisor.** "] {
                assert!(section.contains(part), "{section} has no {part}");
            }
        }
    }
}
