//! Rust source as words, path separators and single characters, with lines. Comments, literals and tests are
//! left out.

use crate::code::{code_only, without_tests};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// `::`
    Separator,
    Sign(char),
}

impl Token {
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Separator | Self::Sign(_) => None,
        }
    }

    pub(super) fn is_word(&self, expected: &str) -> bool {
        self.word() == Some(expected)
    }
}

/// Tokens of the product's code in `source`, each with its line, counted from one.
pub(super) fn tokens(source: &str) -> Vec<(usize, Token)> {
    let code: Vec<char> = without_tests(&code_only(source)).chars().collect();
    let (mut tokens, mut line, mut at) = (Vec::new(), 1, 0);
    while let Some(&c) = code.get(at) {
        let rest = &code[at..];
        let length = rest.iter().take_while(|c| is_word(**c)).count();
        if length > 0 {
            tokens.push((line, Token::Word(rest[..length].iter().collect())));
            at += length;
        } else if rest.starts_with(&[':', ':']) {
            tokens.push((line, Token::Separator));
            at += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push((line, Token::Sign(c)));
            }
            line += usize::from(c == '\n');
            at += 1;
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
