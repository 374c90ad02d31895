//! The tables of a chapter of the manual, for the tests that play their rows.

/// The rows of the first table below a heading, each as its cells.
pub(crate) fn rows(chapter: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, below) = chapter.split_once(heading).unwrap();
    let table = below.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let table = table.take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.map(cells).collect()
}
