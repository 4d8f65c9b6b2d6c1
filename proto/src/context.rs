//! What an operator needs to reach a fleet: where it is, and who the operator is there.
//!
//! INI, a section `[context:NAME]` each with `controller`, `ca`, `cert` and `key`. The last three
//! are paths of PEM files, or `base64:` and the DER itself (several with commas), so that one file
//! can stand alone.

use std::{fmt, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ini::{Ini, ParseOption};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

use crate::tls::Credentials;

const INLINE: &str = "base64:";

/// One way to reach one fleet.
#[derive(Clone, Debug)]
pub struct Context {
    /// What it is called.
    pub name: String,
    /// `HOST:PORT` of the controllers.
    pub controllers: Vec<String>,
    /// The operator's identity.
    pub credentials: Credentials,
}

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Not INI.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A key that has to be there.
    #[error("[context:{context}] has no `{key}`")]
    Missing {
        /// The context.
        context: String,
        /// The key.
        key: &'static str,
    },
    /// A value that is neither a readable PEM file nor base64 of DER.
    #[error("[context:{context}] `{key}` is neither a readable PEM file nor `base64:` and DER")]
    Value {
        /// The context.
        context: String,
        /// The key.
        key: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A section's name, and the context or why it cannot be used.
pub type Named = (String, Result<Context, ContextError>);

impl Context {
    /// The text of a file that stands alone. It holds the key: keep it from others.
    pub fn render(&self) -> String {
        let Credentials { chain, key, root } = &self.credentials;
        let chain: Vec<String> = chain.iter().map(inline).collect();
        format!(
            "[context:{}]\ncontroller = {}\nca = {}\ncert = {}\nkey = {INLINE}{}\n",
            self.name,
            self.controllers.join(", "),
            inline(root),
            chain.join(", "),
            STANDARD.encode(key.secret_der()),
        )
    }

    /// Reads every context of a file; relative paths begin at `directory`. One that is not
    /// complete is an error of its own.
    pub fn parse(text: &str, directory: &Path) -> Result<Vec<Named>, ContextError> {
        let options = ParseOption {
            enabled_escape: false,
            ..ParseOption::default()
        };
        let ini = Ini::load_from_str_opt(text, options).map_err(|e| ContextError::Syntax {
            line: e.line,
            message: e.msg.to_string(),
        })?;
        let contexts = ini.iter().filter_map(|(section, properties)| {
            let name = section?.strip_prefix("context:")?.trim().to_owned();
            let reader = Reader {
                name: &name,
                properties,
                directory,
            };
            let context = reader.read();
            Some((name, context))
        });
        Ok(contexts.collect())
    }
}

fn inline(certificate: &CertificateDer<'_>) -> String {
    format!("{INLINE}{}", STANDARD.encode(certificate))
}

struct Reader<'a> {
    name: &'a str,
    properties: &'a ini::Properties,
    directory: &'a Path,
}

impl Reader<'_> {
    fn read(&self) -> Result<Context, ContextError> {
        let controllers = self
            .get("controller")?
            .split(',')
            .map(|c| c.trim().to_owned());
        let controllers: Vec<String> = controllers.filter(|c| !c.is_empty()).collect();
        let root = self.certificates("ca")?.into_iter().next();
        let credentials = Credentials {
            chain: self.certificates("cert")?,
            key: self.key()?,
            root: root.ok_or_else(|| self.missing("ca"))?,
        };
        Ok(Context {
            name: self.name.to_owned(),
            controllers,
            credentials,
        })
    }

    fn get(&self, key: &'static str) -> Result<&str, ContextError> {
        let value = self
            .properties
            .get(key)
            .map(str::trim)
            .filter(|value| !value.is_empty());
        value.ok_or_else(|| self.missing(key))
    }

    fn certificates(
        &self,
        key: &'static str,
    ) -> Result<Vec<CertificateDer<'static>>, ContextError> {
        let value = self.get(key)?;
        if value.starts_with(INLINE) {
            let parts = value.split(',').map(|part| self.decode(key, part.trim()));
            return parts.map(|der| der.map(CertificateDer::from)).collect();
        }
        let pem = self.file(key, value)?;
        CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|e| self.value(key, e))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, ContextError> {
        let value = self.get("key")?;
        if value.starts_with(INLINE) {
            return Ok(PrivatePkcs8KeyDer::from(self.decode("key", value)?).into());
        }
        let pem = self.file("key", value)?;
        PrivateKeyDer::from_pem_slice(&pem).map_err(|e| self.value("key", e))
    }

    fn decode(&self, key: &'static str, value: &str) -> Result<Vec<u8>, ContextError> {
        let text = value.strip_prefix(INLINE).unwrap_or(value);
        STANDARD.decode(text).map_err(|e| self.value(key, e))
    }

    fn file(&self, key: &'static str, path: &str) -> Result<Vec<u8>, ContextError> {
        fs::read(self.directory.join(path)).map_err(|e| self.value(key, e))
    }

    fn missing(&self, key: &'static str) -> ContextError {
        ContextError::Missing {
            context: self.name.to_owned(),
            key,
        }
    }

    fn value<E>(&self, key: &'static str, source: E) -> ContextError
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        ContextError::Value {
            context: self.name.to_owned(),
            key,
            source: Box::new(source),
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.controllers.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_back_as_it_was_written() {
        let context = Context {
            name: "admin".into(),
            controllers: vec!["a:1".into(), "b:2".into()],
            credentials: Credentials {
                chain: vec![vec![1, 2].into(), vec![3].into()],
                key: PrivatePkcs8KeyDer::from(vec![9, 9]).into(),
                root: vec![4].into(),
            },
        };
        let read = Context::parse(&context.render(), Path::new("/")).unwrap();
        let (name, read) = read.into_iter().next().unwrap();
        let read = read.unwrap();
        assert_eq!(
            (name.as_str(), read.controllers),
            ("admin", context.controllers)
        );
        assert_eq!(read.credentials.chain, context.credentials.chain);
        assert_eq!(read.credentials.root, context.credentials.root);
        assert_eq!(read.credentials.key, context.credentials.key);
    }

    #[test]
    fn an_incomplete_context_says_what_is_missing() {
        let text = "[context:a]\ncontroller = x:1\nca = base64:AQ==\n[rsv]\ncontext = a\n";
        let contexts = Context::parse(text, Path::new("/")).unwrap();
        assert_eq!(contexts.len(), 1);
        let error = contexts[0].1.as_ref().unwrap_err();
        assert_eq!(error.to_string(), "[context:a] has no `cert`");
    }
}
