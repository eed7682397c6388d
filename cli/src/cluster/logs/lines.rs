//! Whose a line of a pod is. In a pod of several ranks the supervisor begins each line of a rank with `[rank] `, or `[rank+] ` where it
//! goes on with a long one. Other lines are the supervisor's own, or of a rank that is alone in its pod.

/// What the supervisor's own lines begin with.
const SUPERVISOR: &[u8] = b"strobe-init: ";

/// Who writes in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Writer {
    /// The gang's name.
    pub(super) gang: String,
    /// The pod's.
    pub(super) pod: String,
    /// The rank, where there is one alone.
    pub(super) only_rank: Option<u32>,
}

/// A line as it is printed, with its end; none where another rank's alone are wished.
pub(super) fn shown(line: &[u8], writer: &Writer, wished: Option<u32>) -> Option<Vec<u8>> {
    let only_rank = writer.only_rank.filter(|_| !line.starts_with(SUPERVISOR));
    // A rank that is alone may write anything, also what looks like another's name.
    let stated = if writer.only_rank.is_none() { stated_rank(line) } else { None };
    let rank = stated.as_ref().map(|stated| stated.rank).or(only_rank);
    if wished.is_some() && rank != wished {
        return None;
    }
    let prefix = match (&stated, only_rank) {
        (Some(Stated { rank, mark, .. }), _) => format!("[{}.{rank}{mark}] ", writer.gang),
        (None, Some(rank)) => format!("[{}.{rank}] ", writer.gang),
        (None, None) => format!("[{}] ", writer.pod),
    };
    let said = stated.map_or(line, |stated| stated.said);
    Some([prefix.as_bytes(), said, b"\n"].concat())
}

/// A line that begins with its rank.
struct Stated<'a> {
    rank: u32,
    /// `+` where it goes on with the line before.
    mark: &'static str,
    said: &'a [u8],
}

fn stated_rank(line: &[u8]) -> Option<Stated<'_>> {
    let rest = line.strip_prefix(b"[")?;
    let end = rest.windows(2).position(|two| two == b"] ")?;
    let number = std::str::from_utf8(&rest[..end]).ok()?;
    let (number, mark) = number.strip_suffix('+').map_or((number, ""), |number| (number, "+"));
    Some(Stated { rank: number.parse().ok()?, mark, said: &rest[end + 2..] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(only_rank: Option<u32>) -> Writer {
        Writer { gang: "sor.x".to_owned(), pod: "sor.x-2-1".to_owned(), only_rank }
    }

    fn text(line: &str, only_rank: Option<u32>, wished: Option<u32>) -> Option<String> {
        shown(line.as_bytes(), &writer(only_rank), wished).map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn a_line_that_states_its_rank_gets_its_gangs_name() {
        assert_eq!(text("[12] hello", None, None).as_deref(), Some("[sor.x.12] hello\n"));
        assert_eq!(text("[1+] on", None, None).as_deref(), Some("[sor.x.1+] on\n"));
        assert_eq!(text("[1] ", None, None).as_deref(), Some("[sor.x.1] \n"), "an empty line");
        assert_eq!(text("[12] hello", Some(1), None).as_deref(), Some("[sor.x.1] [12] hello\n"), "its only rank says so");
    }

    #[test]
    fn another_line_is_the_only_ranks_or_its_pods() {
        assert_eq!(text("hello", Some(1), None).as_deref(), Some("[sor.x.1] hello\n"));
        assert_eq!(text("hello", None, None).as_deref(), Some("[sor.x-2-1] hello\n"));
        assert_eq!(text("strobe-init: hello", Some(1), None).as_deref(), Some("[sor.x-2-1] strobe-init: hello\n"));
        for other in ["[sor.1] hello", "[one] hello", "[1 hello", "[-1] x", "[] 1"] {
            assert_eq!(text(other, None, None), Some(format!("[sor.x-2-1] {other}\n")));
        }
    }

    #[test]
    fn of_a_wished_rank_there_are_its_lines_alone() {
        assert_eq!(text("[12] hello", None, Some(12)).as_deref(), Some("[sor.x.12] hello\n"));
        assert_eq!(text("[1] hello", None, Some(12)), None);
        assert_eq!(text("strobe-init: hello", Some(12), Some(12)), None, "the supervisor's");
        assert_eq!(text("hello", Some(3), Some(3)).as_deref(), Some("[sor.x.3] hello\n"));
        assert_eq!(text("hello", Some(3), Some(4)), None);
    }

    #[test]
    fn what_is_no_text_passes() {
        assert_eq!(shown(b"\xff\xfe", &writer(Some(0)), None), Some(b"[sor.x.0] \xff\xfe\n".to_vec()));
    }
}
