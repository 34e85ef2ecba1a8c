/**
 * ONNX files are read whatever way they store a tensor, a shape or an attribute, and are written so that they
 * read alike.
 */
import type { onnx as Onnx } from 'onnx-proto'
import onnxProto from 'onnx-proto'
import t from 'tap'
import {
  floatOf,
  floats,
  floatTensor,
  int64Tensor,
  integers,
  intOf,
  intsOf,
  loadModel,
  loadTensor,
  type Model,
  type Node,
  saveModel,
  type Tensor,
  textOf,
} from '../src/onnx/onnx.js'

const { onnx } = onnxProto
const { DataType, DataLocation } = onnx.TensorProto
const { AttributeType } = onnx.AttributeProto

/** The file of a model with one Relu, changed. */
function file(graph: Onnx.IGraphProto = {}, model: Onnx.IModelProto = {}): Uint8Array {
  return onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ version: 13 }],
    ...model,
    graph: { node: [{ opType: 'Relu', input: ['x'], output: ['y'] }], ...graph },
  }).finish()
}

/** A tensor as a file gives it back, so that its numbers are of the protobuf's own types. */
function read(tensor: Onnx.ITensorProto): Tensor {
  return loadModel(file({ initializer: [{ name: 'w', ...tensor }] })).constants.get('w')!
}

function bytesOf(array: ArrayBufferView): number[] {
  return [...new Uint8Array(array.buffer, array.byteOffset, array.byteLength)]
}

t.test('typed data of every element type is read to the bytes that raw data would have', async (t) => {
  const large = [-1, 2 ** 40, -(2 ** 52), 7]
  const cases: [string, Onnx.ITensorProto, ArrayBufferView][] = [
    ['FLOAT', { floatData: [0.1, -2] }, Float32Array.of(0.1, -2)],
    ['DOUBLE', { doubleData: [0.1, -2] }, Float64Array.of(0.1, -2)],
    ['INT64', { int64Data: large }, BigInt64Array.from(large, BigInt)],
    ['UINT64', { uint64Data: [2 ** 40, 3] }, BigUint64Array.of(2n ** 40n, 3n)],
    ['UINT32', { uint64Data: [2 ** 32 - 1, 3] }, Uint32Array.of(2 ** 32 - 1, 3)],
    ['INT32', { int32Data: [-5, 2 ** 31 - 1] }, Int32Array.of(-5, 2 ** 31 - 1)],
    ['INT16', { int32Data: [-5, 300] }, Int16Array.of(-5, 300)],
    ['UINT16', { int32Data: [5, 65535] }, Uint16Array.of(5, 65535)],
    ['FLOAT16', { int32Data: [0x3c00, 0xc000] }, Uint16Array.of(0x3c00, 0xc000)],
    ['BFLOAT16', { int32Data: [0x3f80, 0xbf80] }, Uint16Array.of(0x3f80, 0xbf80)],
    ['INT8', { int32Data: [-5, 127] }, Int8Array.of(-5, 127)],
    ['UINT8', { int32Data: [5, 255] }, Uint8Array.of(5, 255)],
    ['BOOL', { int32Data: [1, 0] }, Uint8Array.of(1, 0)],
  ]
  for (const [name, data, expected] of cases) {
    const type = DataType[name as keyof typeof DataType]
    const count = Object.values(data)[0].length
    const tensor = read({ ...data, dataType: type, dims: [count] })
    t.same([...tensor.bytes], bytesOf(expected), name)
    t.equal(tensor.type, type)
    t.same(tensor.dims, [count])
    const raw = read({ rawData: Uint8Array.from(bytesOf(expected)), dataType: type, dims: [count] })
    t.same([...raw.bytes], bytesOf(expected), `${name}, raw`)
  }
})

t.test('complex numbers are two values each', async (t) => {
  const single = read({ dataType: DataType.COMPLEX64, dims: [1], floatData: [1, -2] })
  t.same([...single.bytes], bytesOf(Float32Array.of(1, -2)))
  const double = read({ dataType: DataType.COMPLEX128, dims: [1], doubleData: [1, -2] })
  t.same([...double.bytes], bytesOf(Float64Array.of(1, -2)))
})

t.test('a tensor without dimensions is one value, one with a dimension of 0 none', async (t) => {
  t.same(floats(read({ dataType: DataType.FLOAT, floatData: [3] })), Float32Array.of(3))
  t.equal(read({ dataType: DataType.FLOAT, dims: [4, 0] }).bytes.length, 0)
})

t.test('element types that are not supported are refused by number and by place', async (t) => {
  for (const dataType of [0, DataType.STRING, 17])
    t.throws(() => read({ dataType, dims: [0] }), {
      name: 'BackboneError',
      message: `The initializer w has element type ${dataType}, which is not supported. Export in float32.`,
    })
})

t.test('external data is found by offset and length, both of which may be left out', async (t) => {
  const outside = (entries: Record<string, string>, count: number): Tensor => {
    const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }))
    const proto = {
      dims: [count],
      dataType: DataType.UINT8,
      dataLocation: DataLocation.EXTERNAL,
      externalData,
    }
    return loadTensor(proto, 'tensor w', (location) => {
      return location === 'w.bin' ? Uint8Array.of(1, 2, 3, 4) : undefined
    })
  }
  t.same([...outside({ location: 'w.bin' }, 4).bytes], [1, 2, 3, 4])
  t.same([...outside({ location: 'w.bin', offset: '1' }, 3).bytes], [2, 3, 4])
  t.same([...outside({ location: 'w.bin', offset: '1', length: '2' }, 2).bytes], [2, 3])
  t.throws(() => outside({}, 4), { message: /tensor w lies in the external data file ""/ })
  for (const entries of [{ offset: '5' }, { offset: '-1' }, { length: '5' }, { offset: 'x' }])
    t.throws(() => outside({ location: 'w.bin', ...entries }, 4), {
      message: /has 4\. The file is truncated/,
    })
  t.throws(() => outside({ location: 'w.bin' }, 3), { message: /has 4 bytes .* shape \[3\] needs 3/ })
})

t.test('shapes: symbols, zeros and missing sizes are free, a missing shape is unknown', async (t) => {
  const elemType = DataType.FLOAT
  const dim = [{ dimParam: 'N' }, { dimValue: 3 }, { dimValue: 0 }, {}, { dimValue: -1 }]
  const model = loadModel(
    file({
      input: [{ name: 'x', type: { tensorType: { elemType, shape: { dim } } } }],
      output: [{ name: 'y', type: { tensorType: { elemType } } }, { name: 'z' }],
      valueInfo: [{ name: 'v', type: { tensorType: { elemType, shape: { dim: [] } } } }],
    }),
  )
  t.same(model.inputs, [{ name: 'x', type: elemType, dims: [null, 3, null, null, null] }])
  t.same(model.outputs, [
    { name: 'y', type: elemType, dims: undefined },
    { name: 'z', type: 0, dims: undefined },
  ])
  t.same(model.values[0]!.name, 'v')
  t.equal(model.values[0]!.dims?.length ?? 0, 0)
})

t.test('initializers that are listed as inputs are no inputs', async (t) => {
  const weight = { name: 'w', dataType: DataType.FLOAT, dims: [1], floatData: [1] }
  const model = loadModel(file({ initializer: [weight], input: [{ name: 'x' }, { name: 'w' }] }))
  t.same(
    model.inputs.map(({ name }) => name),
    ['x'],
  )
})

t.test('what a file says of itself may be missing in part', async (t) => {
  const { producer, metadata, doc, irVersion, opset } = loadModel(file())
  t.same(
    { producer, metadata, doc, irVersion, opset },
    { producer: '', metadata: [], doc: '', irVersion: 8, opset: 13 },
  )
  const told = loadModel(
    file(
      {},
      { producerName: 'torch', producerVersion: '2.9', metadataProps: [{ key: 'a' }, { value: 'b' }] },
    ),
  )
  t.equal(told.producer, 'torch 2.9')
  t.same(told.metadata, [
    { key: 'a', value: '' },
    { key: '', value: 'b' },
  ])
  t.equal(loadModel(file({}, { producerVersion: '2.9' })).producer, '2.9')
})

t.test(
  'ai.onnx is the plain domain, and a node without a name is named by operator and position',
  async (t) => {
    const node = [
      { opType: 'Relu', domain: 'ai.onnx', input: ['x'], output: ['y'], name: 'first' },
      { opType: 'Relu', input: ['y'], output: ['z'] },
    ]
    const opsetImport = [
      { domain: 'ai.onnx.ml', version: 3 },
      { domain: 'ai.onnx', version: 17 },
    ]
    const model = loadModel(file({ node }, { opsetImport }))
    t.equal(model.opset, 17)
    t.same(
      model.nodes.map(({ name, op, inputs, outputs }) => ({ name, op, inputs, outputs })),
      [
        { name: 'first', op: 'Relu', inputs: ['x'], outputs: ['y'] },
        { name: 'Relu number 1', op: 'Relu', inputs: ['y'], outputs: ['z'] },
      ],
    )
  },
)

t.test('a loop is refused by the subgraph in a list of graphs too', async (t) => {
  const graphs = [{ name: 'body' }]
  const attribute = [{ name: 'bodies', type: AttributeType.GRAPHS, graphs }]
  const node = [{ opType: 'Loop', input: ['x'], output: ['y'], attribute }]
  t.throws(() => loadModel(file({ node })), { message: /Loop number 0 \(Loop\) has a subgraph/ })
})

t.test('attributes by name, and what stands for those that a node does not have', async (t) => {
  const attribute = [
    { name: 'axis', type: AttributeType.INT, i: -1 },
    { name: 'zero', type: AttributeType.INT, i: 0 },
    { name: 'pads', type: AttributeType.INTS, ints: [1, -2] },
    { name: 'epsilon', type: AttributeType.FLOAT, f: 0.5 },
    { name: 'mode', type: AttributeType.STRING, s: new TextEncoder().encode('SAME_UPPER') },
  ]
  const [node] = loadModel(file({ node: [{ opType: 'Op', output: ['y'], attribute }] })).nodes as [Node]
  t.equal(intOf(node, 'axis', 1), -1)
  t.equal(intOf(node, 'zero', 1), 0)
  t.equal(intOf(node, 'none', 1), 1)
  t.same(intsOf(node, 'pads'), [1, -2])
  t.equal(intsOf(node, 'none'), undefined)
  t.equal(floatOf(node, 'epsilon', 1), 0.5)
  t.equal(floatOf(node, 'none', 1), 1)
  t.equal(textOf(node, 'mode', 'NOTSET'), 'SAME_UPPER')
  t.equal(textOf(node, 'none', 'NOTSET'), 'NOTSET')
})

t.test('values of a tensor, at any offset of their buffer, and only of the right type', async (t) => {
  const shifted = ({ dims, type, bytes }: Tensor): Tensor => {
    const buffer = new Uint8Array(bytes.length + 1)
    buffer.set(bytes, 1)
    return { dims, type, bytes: buffer.subarray(1) }
  }
  t.same(floats(shifted(floatTensor([2], [0.5, -1]))), Float32Array.of(0.5, -1))
  t.same(integers(shifted(int64Tensor([3, -4]))), [3, -4])
  const int32 = read({ dataType: DataType.INT32, dims: [2], int32Data: [3, -4] })
  t.same(integers(shifted(int32)), [3, -4])
  t.throws(() => floats(int32), { name: 'TypeError', message: 'not a float32 or float16 tensor: type 6' })
  t.throws(() => integers(floatTensor([1], [1])), { message: 'not an integer tensor: type 1' })
})

t.test('a model that was written reads alike, its constants inside or in another file', async (t) => {
  const model: Model = {
    irVersion: 8,
    opset: 17,
    nodes: [
      {
        name: 'add',
        op: 'Add',
        inputs: ['x', 'w'],
        outputs: ['y'],
        attributes: [{ name: 'axis', type: AttributeType.INT, i: 2 }],
      },
    ],
    constants: new Map([
      ['w', floatTensor([2, 2], [1, 2, 3, 4])],
      ['sizes', int64Tensor([0, -1])],
    ]),
    inputs: [{ name: 'x', type: DataType.FLOAT, dims: [null, 3, 'height'] }],
    outputs: [{ name: 'y', type: DataType.FLOAT, dims: undefined }],
    values: [{ name: 'v', type: DataType.FLOAT, dims: [7] }],
    producer: 'facet',
    metadata: [{ key: 'a', value: 'b' }],
    doc: 'a test',
  }
  const plain = ({ nodes, constants, ...rest }: Model) => ({
    ...rest,
    nodes: nodes.map((node) => ({ ...node, attributes: intOf(node, 'axis', 0) })),
    constants: Array.from(constants, ([name, { dims, type, bytes }]) => [name, dims, type, [...bytes]]),
  })
  const expected = plain({ ...model, inputs: [{ ...model.inputs[0]!, dims: [null, 3, null] }] })
  t.same(plain(loadModel(saveModel(model))), expected)
  const places = new Map([['w', { location: 'w.bin', offset: 5 }]])
  const split = saveModel(model, places)
  const outside = new Uint8Array(5 + 16 + 3)
  outside.set(model.constants.get('w')!.bytes, 5)
  const external = (location: string) => (location === 'w.bin' ? outside : undefined)
  t.same(plain(loadModel(split, external)), expected)
  outside[5]! ^= 1
  t.notSame(plain(loadModel(split, external)), expected, 'the bytes are those of the other file')
})
