//! What both programs do with a command line that is nearly right: options of the program that stand behind
//! the command are taken, and a mistake is answered with the command's own usage line.

/// `args` with the program's own `options` in front, wherever they stand; `None` when they are there already.
#[must_use]
pub fn options_first<'a>(args: &[&'a str], options: &[&str]) -> Option<Vec<&'a str>> {
    let is_own = |word: &&&str| options.contains(*word);
    let first = args.iter().take_while(is_own).count();
    if !args[first..].iter().any(|word| is_own(&word)) {
        return None;
    }
    let (own, others): (Vec<&str>, Vec<&str>) = args.iter().partition(|word| is_own(word));
    Some([own, others].concat())
}

/// The first line of the help of the command that `args` begins with, without the word "Usage:". `help`
/// returns the help of a command, if there is such a command.
#[must_use]
pub fn usage_line(args: &[&str], help: impl Fn(&[&str]) -> Option<String>) -> Option<String> {
    let words: Vec<&str> = args
        .iter()
        .skip_while(|word| word.starts_with('-'))
        .take_while(|word| !word.starts_with('-'))
        .copied()
        .collect();
    (1..=words.len()).rev().find_map(|count| {
        let text = help(&words[..count])?;
        text.lines().next()?.strip_prefix("Usage: ").map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_program_are_moved_to_its_front() {
        let first = |args: &[&'static str]| options_first(args, &["--json", "-v"]);
        assert_eq!(first(&["role", "--json", "-n", "x", "-v"]).unwrap(), ["--json", "-v", "role", "-n", "x"]);
        assert_eq!(first(&["-v", "role", "--json"]).unwrap(), ["-v", "--json", "role"]);
        assert_eq!(first(&["--json", "role"]), None);
        assert_eq!(first(&["role"]), None);
    }

    #[test]
    fn usage_is_that_of_the_longest_command() {
        let help = |words: &[&str]| match words {
            ["pki"] => Some("Usage: fl pki <command>\n\nmore".to_owned()),
            ["pki", "list"] => Some("Usage: fl pki list [--workspace W]\n".to_owned()),
            _ => None,
        };
        let line = |args: &[&str]| usage_line(args, help);
        assert_eq!(line(&["--json", "pki", "list", "extra", "-x"]).unwrap(), "fl pki list [--workspace W]");
        assert_eq!(line(&["pki", "lst"]).unwrap(), "fl pki <command>");
        assert_eq!(line(&["pk"]), None);
    }
}
