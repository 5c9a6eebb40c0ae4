//! A policy file as an ONNX model.

use sog_runtime::policy::{Dense, MeanScale, PolicyFile, VARIANCE_FLOOR};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

/// Names of the inputs and of the output; there is no code without latent branch.
pub(super) const OBS: &str = "obs";
pub(super) const CODE: &str = "code";
pub(super) const ACTION: &str = "action";

/// The network of `file` for one row: inputs [`OBS`] `[1, S]` and [`CODE`] `[1, Z]`, output
/// [`ACTION`] `[1, A]`.
pub(super) fn model(file: &PolicyFile) -> ModelProto {
    let (s, z, a) = (file.obs_dim(), file.latent_dim(), file.action_dim());
    let (network, norm) = (&file.network, &file.normaliser);
    let inv_std: Vec<f32> = norm.var.iter().map(|v| 1.0 / (v + VARIANCE_FLOOR).sqrt()).collect();
    let mut graph = Graph::default();
    graph.constant("mean", &[s], &norm.mean);
    graph.constant("inv_std", &[s], &inv_std);
    graph.constant("low", &[], &[-norm.clip]);
    graph.constant("high", &[], &[norm.clip]);
    graph.node("Sub", &[OBS, "mean"], "centred");
    graph.node("Mul", &["centred", "inv_std"], "scaled");
    graph.node("Clip", &["scaled", "low", "high"], "x");
    graph.linear("x", "state0", &network.hidden[0]);
    graph.node("Tanh", &["state0"], "hidden");
    graph.linear("hidden", "state1", &network.hidden[1]);
    let mut inputs = vec![value(OBS, s)];
    let mut sum = "state1";
    if let Some(latent) = &network.latent {
        inputs.push(value(CODE, z));
        graph.linear(CODE, "latent", latent);
        graph.node("Add", &["state1", "latent"], "sum");
        sum = "sum";
    }
    graph.node("Tanh", &[sum], "second");
    match file.mean_scale {
        MeanScale::None => graph.linear("second", ACTION, &network.mean),
        MeanScale::Tanh(c) => {
            graph.linear("second", "last", &network.mean);
            graph.constant("scale", &[], &[c]);
            graph.node("Tanh", &["last"], "bounded");
            graph.node("Mul", &["bounded", "scale"], ACTION);
        }
    }
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { version: 13, ..Default::default() }],
        graph: Some(GraphProto {
            name: "policy".to_string(),
            node: graph.nodes,
            initializer: graph.constants,
            input: inputs,
            output: vec![value(ACTION, a)],
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[derive(Default)]
struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Graph {
    fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.constants.push(TensorProto {
            name: name.to_string(),
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..Default::default()
        });
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str) -> &mut NodeProto {
        self.nodes.push(NodeProto {
            op_type: op.to_string(),
            name: output.to_string(),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_string()],
            ..Default::default()
        });
        let last = self.nodes.len() - 1;
        &mut self.nodes[last]
    }

    /// `layer` of `x`; the output is called `name`.
    fn linear(&mut self, x: &str, name: &str, layer: &Dense) {
        let (w, b) = (format!("{name}.weight"), format!("{name}.bias"));
        self.constant(&w, &[layer.outputs(), layer.inputs()], &layer.weight);
        self.constant(&b, &[layer.outputs()], &layer.bias);
        self.node("Gemm", &[x, &w, &b], name).attribute.push(AttributeProto {
            name: "transB".to_string(),
            r#type: AttributeType::Int as i32,
            i: 1,
            ..Default::default()
        });
    }
}

/// A matrix of one row of `width` numbers.
fn value(name: &str, width: usize) -> ValueInfoProto {
    let dim = [1, width].map(|n| Dimension {
        value: Some(dimension::Value::DimValue(n as i64)),
        ..Default::default()
    });
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto { dim: dim.to_vec() }),
    };
    ValueInfoProto {
        name: name.to_string(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
