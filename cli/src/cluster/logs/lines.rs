//! Whose a line of a pod is. The supervisor begins each line of a rank with `[gang.rank] `, or `[gang.rank+] ` where it goes on with a
//! long one; other lines are the supervisor's own, or of a rank that is alone in its pod.

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
    let stated = stated_rank(line, &writer.gang);
    let only_rank = writer.only_rank.filter(|_| !line.starts_with(SUPERVISOR));
    if wished.is_some() && stated.or(only_rank) != wished {
        return None;
    }
    let prefix = match (stated, only_rank) {
        (Some(_), _) => String::new(),
        (None, Some(rank)) => format!("[{}.{rank}] ", writer.gang),
        (None, None) => format!("[{}] ", writer.pod),
    };
    Some([prefix.as_bytes(), line, b"\n"].concat())
}

/// The rank that a line states at its beginning.
fn stated_rank(line: &[u8], gang: &str) -> Option<u32> {
    let rest = line.strip_prefix(b"[")?.strip_prefix(gang.as_bytes())?.strip_prefix(b".")?;
    let end = rest.windows(2).position(|two| two == b"] ").or_else(|| rest.ends_with(b"]").then(|| rest.len() - 1))?;
    let number = std::str::from_utf8(&rest[..end]).ok()?;
    number.strip_suffix('+').unwrap_or(number).parse().ok()
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
    fn a_line_that_states_its_rank_stays_as_it_is() {
        assert_eq!(text("[sor.x.12] hello", None, None).as_deref(), Some("[sor.x.12] hello\n"));
        assert_eq!(text("[sor.x.1+] on", Some(1), None).as_deref(), Some("[sor.x.1+] on\n"));
        assert_eq!(text("[sor.x.1] ", Some(1), None).as_deref(), Some("[sor.x.1] \n"), "an empty line");
    }

    #[test]
    fn another_line_is_the_only_ranks_or_its_pods() {
        assert_eq!(text("hello", Some(1), None).as_deref(), Some("[sor.x.1] hello\n"));
        assert_eq!(text("hello", None, None).as_deref(), Some("[sor.x-2-1] hello\n"));
        assert_eq!(text("strobe-init: hello", Some(1), None).as_deref(), Some("[sor.x-2-1] strobe-init: hello\n"));
        for other in ["[sor.1] hello", "[sor.x.one] hello", "[sor.x.1 hello", "[sor.x] 1"] {
            assert_eq!(text(other, None, None), Some(format!("[sor.x-2-1] {other}\n")));
        }
    }

    #[test]
    fn of_a_wished_rank_there_are_its_lines_alone() {
        assert_eq!(text("[sor.x.12] hello", None, Some(12)).as_deref(), Some("[sor.x.12] hello\n"));
        assert_eq!(text("[sor.x.1] hello", None, Some(12)), None);
        assert_eq!(text("strobe-init: hello", Some(12), Some(12)), None, "the supervisor's");
        assert_eq!(text("hello", Some(3), Some(3)).as_deref(), Some("[sor.x.3] hello\n"));
        assert_eq!(text("hello", Some(3), Some(4)), None);
    }

    #[test]
    fn what_is_no_text_passes() {
        assert_eq!(shown(b"\xff\xfe", &writer(Some(0)), None), Some(b"[sor.x.0] \xff\xfe\n".to_vec()));
    }
}
