//! Models that a plan releases to a key: the key pair, and the opening of what was sealed to it.
//!
//! The private key is PKCS #8 PEM of an X25519 key (RFC 8410), as `openssl genpkey -algorithm X25519` writes it. What is
//! sealed, and how, is [`fl_runtime::sealed`]'s.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use fl_engine::{
    model::safetensors,
    plan::PublicKey,
    tensor::{Layout, TensorSpec},
};
use fl_runtime::sealed::{Label, OpenError, Opener};
use ring::rand::{SecureRandom as _, SystemRandom};
use x25519_dalek::StaticSecret;

use super::{read, refused_file, root};
use crate::{
    exit::{Exit, Failure},
    files,
};

/// A sealed model that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What the sealed file said of itself; all of it proved.
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
/// [`Exit::File`] also when `output` is there already.
pub fn new_key(output: &Path) -> Result<PublicKey, Failure> {
    let mut secret = [0; 32];
    let filled = SystemRandom::new().fill(&mut secret);
    filled.map_err(|_| Failure::new(Exit::Failed, "the system has no random bytes"))?;
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = pem::encode_config(&pem::Pem::new(TAG, [PREFIX, &secret[..]].concat()), lines);
    files::write_secret(output, text.as_bytes()).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            files::unwritten(output, &e).hint("it may be a key that models are sealed to: name another file")
        }
        _ => files::unwritten(output, &e),
    })?;
    Ok(public_key(&StaticSecret::from(secret)))
}

/// Opens a sealed model with the private key in the file `key`, checks that it has the root that it was sealed under,
/// and writes it to `output` as safetensors. A file that was there is kept when anything is wrong.
///
/// # Errors
/// [`Exit::Trust`] for a key file that is none, or another's key; [`Exit::Model`] for a file that is damaged or was
/// changed; [`Exit::File`].
pub fn open(sealed: &Path, key: &Path, output: &Path) -> Result<Opened, Failure> {
    let secret = private_key(key)?;
    let refused = |error| refused_sealed(sealed, error);
    let file = fs::File::open(sealed).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (length, file) = file.map_err(|e| refused(e.into()))?;
    let opener = Opener::new(file, length).map_err(refused)?;
    let scrap = Scrap::beside(output);
    let unwritten = |e: io::Error| files::unwritten(output, &e);
    let mut out = fs::File::create(&scrap.0).map_err(unwritten)?;
    // What was not put is the output's fault, not the sealed file's.
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
        return Err(unwritten(error));
    }
    let label = opened.map_err(refused)?;
    out.sync_all().map_err(unwritten)?;
    drop(out);
    let (tensors, elements, texts) = checked(sealed, &scrap.0, &label)?;
    fs::rename(&scrap.0, output).map_err(unwritten)?;
    Ok(Opened { label, texts, tensors, elements })
}

/// Tensors, elements and texts of the model in `plain`, whose root is the label's.
fn checked(sealed: &Path, plain: &Path, label: &Label) -> Result<(usize, u64, safetensors::Texts), Failure> {
    let no_layout = |why: String| {
        let error = format!("{}: what it says of its tensors is refused: {why}", sealed.display());
        Failure::new(Exit::Model, error)
    };
    let tensors: Vec<TensorSpec> = serde_json::from_str(&label.note).map_err(|e| no_layout(e.to_string()))?;
    let layout = Layout::new(tensors).map_err(|e| no_layout(e.to_string()))?;
    let (state, texts) = safetensors::read(&read(plain)?, &layout).map_err(|e| refused_file(sealed, &e))?;
    let found = root(&state);
    if found != label.root {
        let error =
            format!("{} was sealed under root {}; its tensors have {found}", sealed.display(), label.root);
        return Err(Failure::new(Exit::Model, error)
            .hint("whoever sealed it did not seal the run's model: ask the aggregator's operator"));
    }
    Ok((layout.tensors().len(), (state.f32.len() + state.i64.len()) as u64, texts))
}

fn private_key(path: &Path) -> Result<StaticSecret, Failure> {
    let refused = |why: &str| {
        Failure::new(Exit::Trust, format!("{} {why}", path.display()))
            .hint("name the file that `fl-host model key` wrote")
    };
    let text = files::read_text(path, KEY_FILE_BYTES)?;
    let block = pem::parse(&text).map_err(|_| refused("is not PEM"))?;
    if block.tag() != TAG {
        return Err(refused(&format!("holds a {}, not a {TAG}", block.tag())));
    }
    let secret = block.contents().strip_prefix(PREFIX).and_then(|rest| <[u8; 32]>::try_from(rest).ok());
    secret.map(StaticSecret::from).ok_or_else(|| refused("holds no X25519 key"))
}

fn public_key(secret: &StaticSecret) -> PublicKey {
    PublicKey(x25519_dalek::PublicKey::from(secret).to_bytes())
}

fn refused_sealed(path: &Path, error: OpenError) -> Failure {
    let (exit, hint) = match &error {
        OpenError::Io(_) => (Exit::File, "check the path"),
        OpenError::OtherKey { .. } => {
            (Exit::Trust, "open it with the private key that belongs to the key it was sealed to")
        }
        OpenError::Form => (Exit::Model, "name a .sealed file of save/released on the aggregator's machine"),
        OpenError::Version(_) => (Exit::Model, "open it with the fl-host of the aggregator's version"),
        OpenError::Length { .. } => (Exit::Model, "it was cut short or added to: copy it again"),
        _ => (Exit::Model, "the file was changed after it was sealed: copy it again"),
    };
    Failure::new(exit, format!("{}: {error}", path.display())).hint(hint)
}

/// A file that is removed unless it was renamed.
struct Scrap(PathBuf);

impl Scrap {
    fn beside(path: &Path) -> Self {
        let mut name = OsString::from(path);
        name.push(".new");
        Self(name.into())
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        // Renamed, for the most part.
        let _ = fs::remove_file(&self.0);
    }
}

const TAG: &str = "PRIVATE KEY";
/// RFC 8410, section 7: a PKCS #8 structure of version 0 for X25519, up to the key itself.
const PREFIX: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20];
const KEY_FILE_BYTES: usize = 4096;
