//! Between a policy's flat parameters and the network of a policy file: the one place that knows
//! both.

use sog_runtime::policy::{Dense, MeanScale, Network, PolicyFile};

use crate::error::{EngineError, check_len};
use crate::net::{CODE_OF_STACK, FIRST_OF_STACK, PolicyArch, PolicyNet, split_columns};

impl PolicyNet {
    /// The network and the log standard deviations of a policy file.
    ///
    /// # Errors
    /// If the file was not verified and its sizes do not fit.
    pub fn from_file(file: &PolicyFile) -> Result<Self, EngineError> {
        let shape = file.shape();
        let arch = PolicyArch {
            architecture: shape.architecture,
            activation: shape.activation,
            obs: shape.obs,
            latent: shape.latent,
            hidden: shape.hidden,
            action: shape.action,
            mean_scale: match file.mean_scale {
                MeanScale::None => None,
                MeanScale::Tanh(c) => Some(c),
            },
        };
        let mut params = Vec::with_capacity(arch.layout().len());
        for (i, Dense { weight, bias }) in file.network.layers().enumerate() {
            if i == 0 && arch.splits_first_layer() {
                let (of_obs, of_code) = split_columns(weight, [arch.obs, arch.latent]);
                params.extend([&of_obs, bias, &of_code].into_iter().flatten());
            } else {
                params.extend(weight.iter().chain(bias));
            }
        }
        check_len("log standard deviations", file.log_std.len(), arch.action)?;
        params.extend(&file.log_std);
        Self::from_params(arch, params)
    }

    /// The network as a policy file has it; the scale of the mean and [`PolicyNet::log_std`] are
    /// fields of their own there.
    pub fn network(&self) -> Network {
        let tensor = |name: &str| {
            let found = self.layout().tensor(name);
            found.map_or(&[][..], |tensor| &self.params[tensor.range()])
        };
        let arch = self.arch();
        Network::from_fn(&arch.shape(), |name, _| {
            if name == FIRST_OF_STACK && arch.splits_first_layer() {
                let of_obs = tensor(name).chunks_exact(arch.obs);
                let of_code = tensor(CODE_OF_STACK).chunks_exact(arch.latent);
                return of_obs.zip(of_code).flat_map(|(x, z)| [x, z].concat()).collect();
            }
            tensor(name).to_vec()
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;
    use sog_runtime::policy::{LatentKind, Policy, example};

    use super::*;
    use crate::net::{Architecture, HiddenActivation, Init};
    use crate::policy::PolicyPass;

    /// A policy of this shape with random biases, and a file with it.
    fn policy(
        architecture: Architecture,
        hidden: &[usize],
        latent: usize,
    ) -> (PolicyNet, PolicyFile) {
        let mut rng = Pcg64::seed_from_u64(3);
        let arch = PolicyArch {
            architecture,
            activation: HiddenActivation::Elu,
            hidden: hidden.to_vec(),
            ..PolicyArch::paper(10, latent, 1, 2)
        };
        let mut net = PolicyNet::new(arch, Init::default(), &mut rng).expect("valid");
        net.params.iter_mut().for_each(|p| *p += rng.random_range(-0.2..0.2));
        let latent = if latent == 0 { LatentKind::None } else { LatentKind::Gaussian(latent) };
        let (network, log_std) = (net.network(), net.log_std().to_vec());
        let mut file =
            PolicyFile { latent, network, log_std, mean_scale: MeanScale::None, ..example(1) };
        file.seal(5);
        (net, file)
    }

    #[test]
    fn a_file_of_any_shape_gives_its_network_back_and_means_the_same() {
        for architecture in [Architecture::TwoBranch, Architecture::Mlp] {
            for hidden in [&[24][..], &[24, 16], &[24, 9, 40]] {
                for latent in [0, 3] {
                    let (net, file) = policy(architecture, hidden, latent);
                    assert_eq!(PolicyNet::from_file(&file), Ok(net.clone()));
                    let read =
                        PolicyFile::parse(&file.to_bytes()).expect("what was written is read");
                    assert_eq!(read, file);
                    let rows = file.golden.action.len() / 2;
                    let norm = &file.normaliser;
                    let mut inputs = file.golden.obs.clone();
                    for row in inputs.chunks_exact_mut(10) {
                        for (j, x) in row.iter_mut().enumerate() {
                            *x = (*x - norm.mean[j]) / (norm.var[j] + 1e-8).sqrt();
                        }
                    }
                    let mut means = vec![0.0; rows * 2];
                    let mut pass = PolicyPass::new(net.arch());
                    pass.load(&net, &inputs).expect("shapes match");
                    pass.mean(&net, &file.golden.latent, &mut means).expect("shapes match");
                    let policy = Policy::new(&file);
                    let mut actions = vec![0.0; rows * 2];
                    let (obs, codes) = (&file.golden.obs, &file.golden.latent);
                    policy.mean_actions(&mut policy.workspace(rows), obs, codes, &mut actions);
                    for ((mean, action), golden) in
                        means.iter().zip(&actions).zip(&file.golden.action)
                    {
                        assert!((mean - golden).abs() < 1e-5 && (action - golden).abs() < 1e-5);
                    }
                }
            }
        }
    }
}
