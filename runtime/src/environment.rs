//! The environment variables that the program reads. It reads no other.

use std::ffi::OsString;

/// What the environment says of proxies. The address of the proxy may hold a password.
#[derive(Clone, Default)]
pub(crate) struct ProxyVariables {
    /// The variable's name, and the address of a proxy.
    pub(crate) proxy: Option<(&'static str, String)>,
    /// Hosts that are reached without the proxy.
    pub(crate) exempt: String,
}

impl ProxyVariables {
    /// Reads the variables with `get`. As with curl, the names may be in lower case, which go first, and an
    /// empty variable is none.
    pub(crate) fn read(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &'static str| {
            let value = get(name).filter(|value| !value.is_empty())?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        let [proxy, exempt] = PROXY_VARIABLES.map(|names| names.into_iter().find_map(text));
        Self { proxy, exempt: exempt.map(|(_, hosts)| hosts).unwrap_or_default() }
    }
}

/// Names a collaborator where the command line does not. It is the one word that a host says to an enclave;
/// it selects a certificate, and the certificate decides who the collaborator is.
pub const NAME_VARIABLE: &str = "FL_COLLABORATOR";

/// Is `1` under Gramine and unset elsewhere. A manifest fixes the variable, so in an enclave it is measured.
/// It chooses how system calls are made ([`fl_sys::syscall`]), and has replaced files synced again
/// (`files`). A collaborator then takes no proxy from the environment (`cli`). It changes nothing else.
pub const GRAMINE_VARIABLE: &str = "FL_GRAMINE";

/// The proxy for connections with TLS, and the hosts that are reached without the proxy. An enclave does not
/// read these: the host fills its environment.
const PROXY_VARIABLES: [[&str; 2]; 2] = [["https_proxy", "HTTPS_PROXY"], ["no_proxy", "NO_PROXY"]];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> ProxyVariables {
        ProxyVariables::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn lower_case_goes_first_and_an_empty_variable_is_none() {
        let both = read(&[("https_proxy", "a:1"), ("HTTPS_PROXY", "b:1"), ("NO_PROXY", "c")]);
        assert_eq!(both.proxy, Some(("https_proxy", "a:1".to_owned())));
        assert_eq!(both.exempt, "c");
        let empty =
            read(&[("https_proxy", ""), ("HTTPS_PROXY", "b:1"), ("HTTP_PROXY", "d:1"), ("no_proxy", "")]);
        assert_eq!(empty.proxy, Some(("HTTPS_PROXY", "b:1".to_owned())));
        assert_eq!(empty.exempt, "");
        assert!(read(&[("ALL_PROXY", "a:1")]).proxy.is_none());
    }
}
