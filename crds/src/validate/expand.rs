//! References to variables in commands and values, `$(NAME)`, as the kubelet expands them.
//!
//! A name that is not set stays as it is written; `$$` stands for a dollar sign, so that `$$(NAME)` is not a reference.

/// Replaces the references in a text by the values of the variables; of several with one name the last counts.
pub(super) fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            after
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => result.push_str(value),
                None => result.extend(["$(", name, ")"]),
            }
            after
        } else {
            result.push('$');
            after
        };
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_the_kubelet_does() {
        let variables = [("A", "1"), ("B", "two"), ("A", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)-$(B)", "3-two"),
            ("$(C) and $(", "$(C) and $("),
            ("$$(A) $$", "$(A) $"),
            ("$A ${A}", "$A ${A}"),
            ("$(A", "$(A"),
            ("100$", "100$"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}
