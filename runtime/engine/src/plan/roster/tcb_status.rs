//! How current a platform is, in Intel's words.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// How current a platform's microcode, settings and quoting enclave are. A later status is a worse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum TcbStatus {
    /// Everything is current.
    UpToDate,
    /// Software has to work around a weakness of the processor.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The machine's settings, such as hyper-threading, leave a weakness open.
    ConfigurationNeeded,
    /// Both of the above.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// Microcode or quoting enclave are old, and a newer one closes a weakness.
    OutOfDate,
    /// The same, and the settings leave a weakness open.
    OutOfDateConfigurationNeeded,
    /// Nothing that such a platform says can be believed.
    Revoked,
}

/// A text that is no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a TCB status; the statuses are {words}", words = TcbStatus::ALL.map(TcbStatus::as_str).join(", "))]
pub struct StatusError(String);

impl TcbStatus {
    /// Every status, the best first.
    pub const ALL: [Self; 7] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
    ];

    /// Intel's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }

    /// The status of a processor with a quoting enclave of this status: the worse one, but an old quoting
    /// enclave does not hide that settings leave a weakness open.
    #[must_use]
    pub fn with_quoting_enclave(self, quoting_enclave: Self) -> Self {
        match (self, quoting_enclave) {
            (Self::ConfigurationNeeded | Self::ConfigurationAndSwHardeningNeeded, Self::OutOfDate) => {
                Self::OutOfDateConfigurationNeeded
            }
            (processor, quoting_enclave) => processor.max(quoting_enclave),
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TcbStatus {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| StatusError(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    #[test]
    fn words_are_those_of_the_json() {
        for status in TcbStatus::ALL {
            let read = TcbStatus::deserialize(StrDeserializer::<Error>::new(status.as_str()));
            assert_eq!(read, Ok(status));
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!(
            "uptodate".parse::<TcbStatus>().unwrap_err().to_string().contains("UpToDate, SWHardeningNeeded")
        );
    }

    #[test]
    fn old_quoting_enclave_makes_every_platform_out_of_date() {
        use TcbStatus::*;
        for (processor, expected) in [
            (UpToDate, OutOfDate),
            (SwHardeningNeeded, OutOfDate),
            (ConfigurationNeeded, OutOfDateConfigurationNeeded),
            (ConfigurationAndSwHardeningNeeded, OutOfDateConfigurationNeeded),
            (OutOfDate, OutOfDate),
            (OutOfDateConfigurationNeeded, OutOfDateConfigurationNeeded),
            (Revoked, Revoked),
        ] {
            assert_eq!(processor.with_quoting_enclave(OutOfDate), expected);
            assert_eq!(processor.with_quoting_enclave(UpToDate), processor);
            assert_eq!(processor.with_quoting_enclave(Revoked), Revoked);
        }
    }
}
