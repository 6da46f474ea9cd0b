//! Parameters of statements.

use ferrolite_wire::Value;

/// What can be bound to a statement's parameters: `()`, tuples of up to twelve values of mixed types, and arrays,
/// vectors and slices of values ([`params!`](crate::params) writes such an array).
pub trait IntoParams {
    /// The values, the first parameter first.
    fn into_params(self) -> Vec<Value>;
}

impl IntoParams for () {
    fn into_params(self) -> Vec<Value> {
        Vec::new()
    }
}

impl<T: Into<Value>> IntoParams for Vec<T> {
    fn into_params(self) -> Vec<Value> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<Value>, const N: usize> IntoParams for [T; N] {
    fn into_params(self) -> Vec<Value> {
        self.into_iter().map(Into::into).collect()
    }
}

impl IntoParams for &[Value] {
    fn into_params(self) -> Vec<Value> {
        self.to_vec()
    }
}

impl IntoParams for &Vec<Value> {
    fn into_params(self) -> Vec<Value> {
        self.clone()
    }
}

impl<const N: usize> IntoParams for &[Value; N] {
    fn into_params(self) -> Vec<Value> {
        self.to_vec()
    }
}

macro_rules! tuples_into_params {
    ($($($name:ident)+;)*) => {
        $(impl<$($name: Into<Value>),+> IntoParams for ($($name,)+) {
            fn into_params(self) -> Vec<Value> {
                #[allow(non_snake_case, reason = "one name serves for the type and its value")]
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        })*
    };
}

tuples_into_params! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
    A B C D E F G H I;
    A B C D E F G H I J;
    A B C D E F G H I J K;
    A B C D E F G H I J K L;
}

/// Makes an array of [`Value`]s out of expressions of any types that convert to one.
///
/// ```
/// use ferrolite_client::{Value, params};
///
/// let bound = params![1, "two", None::<i64>, vec![3u8]];
/// assert_eq!(bound[1], Value::Text("two".into()));
/// assert_eq!(bound[2], Value::Null);
/// ```
#[macro_export]
macro_rules! params {
    () => { () };
    ($($value:expr),+ $(,)?) => { [$($crate::Value::from($value)),+] };
}
