//! The program itself in a small memory limit, flooded from outside. Cases A2, A3 and A12.

#[cfg(test)]
mod cage;
#[cfg(test)]
mod client;
#[cfg(test)]
mod flooded;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod tier;
