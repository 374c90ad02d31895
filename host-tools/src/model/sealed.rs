//! Models that a plan releases to a key: makes the key pair, and decrypts models that were sealed to it.
//!
//! The private key is PKCS #8 PEM of an X25519 key (RFC 8410), as `openssl genpkey -algorithm X25519` writes
//! it. What is sealed, and how, is in [`fl_runtime::internal::sealed`].

use std::{
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
};

use fl_engine::{
    model::safetensors,
    plan::PublicKey,
    tensor::{Layout, TensorSpec},
};
use fl_runtime::internal::{
    files::{BY_UMASK, File},
    sealed::{Label, OpenError, Opener},
};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::{FILE_BYTES, refused_file, root};
use crate::{
    exit::{Exit, Failure},
    files,
    machine::machine,
};

/// A sealed model that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What the sealed file states; all of it was checked.
    pub label: Label,
    /// The model's texts.
    pub texts: safetensors::Texts,
    /// Number of tensors.
    pub tensors: usize,
    /// Elements of all tensors.
    pub elements: u64,
}

/// Makes a key pair: the private key goes to a new file that only this user can read.
///
/// # Errors
/// [`Exit::File`], also when `output` exists already.
pub fn new_key(output: &Path) -> Result<PublicKey, Failure> {
    let secret: [u8; 32] = machine().random.bytes().map_err(|e| Failure::of(Exit::Failed, &e))?;
    let secret = Zeroizing::new(secret);
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = Zeroizing::new(pem::encode_config(&pem::Pem::new(TAG, [PREFIX, &secret[..]].concat()), lines));
    files::write_secret(output, text.as_bytes()).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => files::unwritten(output, &e)
            .hint("give another path with --output: models may be sealed to the key in the existing file"),
        _ => files::unwritten(output, &e),
    })?;
    Ok(public_key(&StaticSecret::from(*secret)))
}

/// Decrypts a sealed model with the private key in the file `key`, checks that its tensors have the root that
/// it was sealed with, and writes it to `output` as safetensors. When anything is wrong, an existing `output`
/// is kept.
///
/// # Errors
/// [`Exit::Trust`] for a file without a private key, or with the key of another pair; [`Exit::Model`] for a
/// file that is damaged or was changed; [`Exit::File`].
pub fn open(sealed: &Path, key: &Path, output: &Path) -> Result<Opened, Failure> {
    let secret = private_key(key)?;
    let refused = |error| refused_sealed(sealed, error);
    let file = files::of_process().open(sealed).and_then(|file| Ok((file.length()?, file)));
    let (length, file) = file.map_err(|e| refused(e.into()))?;
    let opener = Opener::new(file, length).map_err(refused)?;
    let mut refusal = None;
    let written = files::of_process().replace(output, BY_UMASK, |out| {
        // A failed write is a failure of the output, not of the sealed file.
        let mut unput = None;
        let opened = opener.open(
            &public_key(&secret),
            |point| secret.diffie_hellman(&(*point).into()).to_bytes(),
            &mut |piece| {
                out.write_all(piece).map_err(|e| {
                    let again = io::Error::from(e.kind());
                    unput = Some(e);
                    again
                })
            },
        );
        if let Some(error) = unput {
            return Err(error);
        }
        let checked = opened.map_err(refused).and_then(|label| checked(sealed, out, label));
        checked.map_err(|failure| {
            refusal = Some(failure);
            io::Error::other("the model is refused")
        })
    });
    written.map_err(|e| refusal.unwrap_or_else(|| files::unwritten(output, &e)))
}

/// What was opened into the file `plain`: a model whose root is the label's.
fn checked(sealed: &Path, plain: &mut File, label: Label) -> Result<Opened, Failure> {
    let no_layout = |why: String| {
        let error = format!("{}: the description of the model's tensors is invalid: {why}", sealed.display());
        Failure::new(Exit::Model, error)
    };
    let tensors: Vec<TensorSpec> = serde_json::from_str(&label.note).map_err(|e| no_layout(e.to_string()))?;
    let layout = Layout::new(tensors).map_err(|e| no_layout(e.to_string()))?;
    let mut bytes = Vec::new();
    let read = plain.rewind().and_then(|()| plain.take(FILE_BYTES as u64).read_to_end(&mut bytes));
    read.map_err(|e| Failure::new(Exit::File, format!("cannot read the opened model: {e}")))?;
    let (state, texts) = safetensors::read(&bytes, &layout).map_err(|e| refused_file(sealed, &e))?;
    let found = root(&state);
    if found != label.root {
        let error = format!(
            "{} was sealed with the root {}, but its tensors have the root {found}",
            sealed.display(),
            label.root
        );
        return Err(Failure::new(Exit::Model, error).hint(
            "the aggregator sealed another model than the one of the run: ask the aggregator's operator",
        ));
    }
    let elements = (state.f32.len() + state.i64.len()) as u64;
    Ok(Opened { label, texts, tensors: layout.tensors().len(), elements })
}

fn private_key(path: &Path) -> Result<StaticSecret, Failure> {
    let refused = |why: &str| {
        Failure::new(Exit::Trust, format!("{} {why}", path.display()))
            .hint("give the private key file that `fl-host model key` wrote with --key")
    };
    let text = files::read_secret_text(path, KEY_FILE_BYTES)?;
    let block = pem::parse(text.as_bytes()).map_err(|_| refused("is not a PEM file"))?;
    if block.tag() != TAG {
        return Err(refused(&format!("contains a {}, not a {TAG}", block.tag())));
    }
    let contents = Zeroizing::new(block.into_contents());
    let secret = contents.strip_prefix(PREFIX).and_then(|rest| <[u8; 32]>::try_from(rest).ok());
    let secret = secret.map(StaticSecret::from).ok_or_else(|| refused("contains no X25519 key"))?;
    files::refuse_exposed(path)?;
    Ok(secret)
}

fn public_key(secret: &StaticSecret) -> PublicKey {
    PublicKey(x25519_dalek::PublicKey::from(secret).to_bytes())
}

fn refused_sealed(path: &Path, error: OpenError) -> Failure {
    let (exit, hint) = match &error {
        OpenError::Io(_) => (Exit::File, "check the path, and that this user may read the file"),
        OpenError::OtherKey { .. } => (
            Exit::Trust,
            "with --key, give the private key that belongs to the public key that the model was sealed to",
        ),
        OpenError::Form => {
            (Exit::Model, "give a .sealed file from save/released on the aggregator's machine")
        }
        OpenError::Version(_) => (Exit::Model, "open the file with an fl-host of the aggregator's version"),
        OpenError::Length { .. } => (
            Exit::Model,
            "the file was cut short or something was added: copy it again from the aggregator's machine",
        ),
        _ => (
            Exit::Model,
            "the file was changed after it was sealed: copy it again from the aggregator's machine",
        ),
    };
    Failure::new(exit, format!("{}: {error}", path.display())).hint(hint)
}

const TAG: &str = "PRIVATE KEY";
/// RFC 8410, section 7: a PKCS #8 structure of version 0 for X25519, up to the key itself.
const PREFIX: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20];
const KEY_FILE_BYTES: usize = 4096;
