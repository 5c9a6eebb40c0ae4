//! Bytes of an array to numbers.

use crate::recording::Dtype;

/// Numbers of `dtype` in `bytes`; a rest that is no whole number is left.
pub(crate) fn decode(bytes: &[u8], dtype: Dtype, big_endian: bool) -> Vec<f64> {
    macro_rules! numbers {
        ($type:ty, $as_f64:expr) => {
            bytes
                .as_chunks()
                .0
                .iter()
                .map(
                    |&b| {
                        if big_endian {
                            <$type>::from_be_bytes(b)
                        } else {
                            <$type>::from_le_bytes(b)
                        }
                    },
                )
                .map($as_f64)
                .collect()
        };
    }
    match dtype {
        Dtype::Float(16) => numbers!(half::f16, f64::from),
        Dtype::Float(32) => numbers!(f32, f64::from),
        Dtype::Float(_) => numbers!(f64, |x| x),
        Dtype::Int(8) => numbers!(i8, f64::from),
        Dtype::Int(16) => numbers!(i16, f64::from),
        Dtype::Int(32) => numbers!(i32, f64::from),
        Dtype::Int(_) => numbers!(i64, |x| x as f64),
        Dtype::UInt(8) => numbers!(u8, f64::from),
        Dtype::UInt(16) => numbers!(u16, f64::from),
        Dtype::UInt(32) => numbers!(u32, f64::from),
        Dtype::UInt(_) => numbers!(u64, |x| x as f64),
        Dtype::Bool => bytes.iter().map(|&b| f64::from(u8::from(b != 0))).collect(),
    }
}

/// Bytes of one number.
pub(crate) fn size_of(dtype: Dtype) -> usize {
    match dtype {
        Dtype::Float(bits) | Dtype::Int(bits) | Dtype::UInt(bits) => usize::from(bits / 8),
        Dtype::Bool => 1,
    }
}

/// Column-major numbers (Fortran, MATLAB) in row-major order.
pub(crate) fn row_major(data: Vec<f64>, shape: &[usize]) -> Vec<f64> {
    if shape.iter().filter(|&&n| n > 1).count() < 2 {
        return data;
    }
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &n in shape {
        strides.push(stride);
        stride *= n;
    }
    let mut index = vec![0; shape.len()];
    let mut out = Vec::with_capacity(data.len());
    for _ in 0..data.len() {
        let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        out.push(data[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_major_numbers_are_put_in_row_major_order() {
        // [[0, 1, 2], [3, 4, 5]], stored column by column.
        assert_eq!(
            row_major(vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0], &[2, 3]),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
        // x[i][j][k] = 100 i + 10 j + k of shape [2, 1, 2].
        assert_eq!(row_major(vec![0.0, 100.0, 1.0, 101.0], &[2, 1, 2]), [0.0, 1.0, 100.0, 101.0]);
    }

    #[test]
    fn numbers_of_both_byte_orders_are_the_same() {
        assert_eq!(decode(&1.5_f32.to_be_bytes(), Dtype::Float(32), true), [1.5]);
        assert_eq!(decode(&(-7_i16).to_le_bytes(), Dtype::Int(16), false), [-7.0]);
        assert_eq!(decode(&[0x00, 0x3e], Dtype::Float(16), false), [1.5]);
    }
}
