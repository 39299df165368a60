//! The mean.

/// The mean of `values`; of equal values exactly theirs, where their sum would round. `None` without values.
pub fn mean(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    let is_equal = values.iter().all(|&value| value == first);
    Some(if is_equal { first } else { values.iter().sum::<f64>() / values.len() as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_their_mean() {
        assert_eq!(mean(&[]), None);
        // The sum of three is a bit less than 2.1.
        assert_eq!(mean(&[0.7; 3]), Some(0.7));
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
    }
}
