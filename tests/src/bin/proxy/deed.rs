//! What a proxy does, as a word of the command line.

use std::{str::FromStr, time::Duration};

/// What the proxy does with each client.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Connects.
    Open,
    /// Connects a client that shows this user and password, in base64.
    Login(String),
    /// Connects after fifty pauses, and then pauses after each piece.
    Slow(Duration),
    /// Connects, and cuts the first connection when it has carried so many bytes of the client.
    Cut(u64),
    /// Answers with this status line.
    Status(String),
    /// Answers with these bytes.
    Answer(&'static [u8]),
    /// Sends a line without an end.
    Endless,
    /// Says nothing.
    Silent,
    /// Ends the connection.
    Leave,
    /// Is no proxy: carries a TLS connection that names this server to the port.
    Balance { name: String, to: u16 },
}

impl FromStr for Deed {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (deed, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<u64>().map_err(|error| format!("{word}: {error}"));
        Ok(match deed {
            "open" => Self::Open,
            "login" => Self::Login(value.to_owned()),
            "slow" => Self::Slow(Duration::from_millis(number()?)),
            "cut" => Self::Cut(number()?),
            "status" => Self::Status(value.to_owned()),
            "page" => Self::Answer(b"<!DOCTYPE html>\r\n<html><body>Log in</body></html>\r\n\r\n"),
            "lie" => Self::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n<html>Log in</html>"),
            "ntlm" => Self::Answer(b"HTTP/1.1 407 Unauthorized\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n"),
            "endless" => Self::Endless,
            "silent" => Self::Silent,
            "leave" => Self::Leave,
            "balance" => {
                let (name, to) = value.split_once(':').ok_or("balance=NAME:PORT")?;
                Self::Balance { name: name.to_owned(), to: to.parse().map_err(|_| "balance=NAME:PORT")? }
            }
            _ => return Err(format!("no deed {word:?}")),
        })
    }
}
