/** Which slots a backbone gets, what they are called, where it ends, and what the manifest says of it. */
import t from 'tap'
import { Network } from './networks.js'
import { basePack, build } from './trunk.js'

/** A network with slots that are opened, that stay frozen and that cannot be opened. */
function mixed(): Network {
  const net = new Network(10)
  let x = net.relu(net.bn('stem.bn', net.conv('stem.conv', 'image', [3, 4]), 4))
  x = net.relu(net.bn('point.bn', net.conv('point', x, [4, 4], { kernel: [1, 1] }), 4))
  x = net.bn('depth.bn', net.conv('depth', x, [4, 4], { group: 4 }), 4)
  x = net.relu(net.conv('even', x, [4, 6], { kernel: [2, 2], stride: 2, pads: [0, 0, 0, 0] }))
  x = net.relu(net.bn('norm', x, 6))
  net.linear('head', net.vector(x), [6, 5])
  return net
}

t.test('slots open at group-1 convolutions larger than 1x1 and at lone norms', async (t) => {
  const { manifest, closed } = await build(mixed().onnx())
  t.match(manifest.slots, [
    { name: 'stem.conv', kind: 'conv', in: 3, out: 4, kernel: [3, 3], stride: [1, 1], columns: 3 },
    { name: 'norm', kind: 'norm', in: 6, out: 6, columns: 0 },
  ])
  t.same(
    closed.map(({ name, reason, refused }) => [name, reason, refused]),
    [
      ['point', 'pointwise: opened only if --open names it', false],
      ['point.bn', 'behind point, which stays frozen', false],
      ['depth', 'group 4', false],
      ['depth.bn', 'behind depth, which stays frozen', false],
      ['even', 'the windows of its 2x2 kernel have no centre on a pixel of the input', true],
    ],
  )
})

t.test('--open opens what it names, whatever the kernel, and nothing else', async (t) => {
  const names = async (pattern: RegExp) =>
    (await build(mixed().onnx(), { open: pattern })).manifest.slots.map(({ name, columns }) => [
      name,
      columns,
    ])
  t.same(await names(/^point$|depth$/), [
    ['point', 4],
    ['depth', 0],
  ])
  t.same(await names(/bn$/), [
    ['stem.bn', 0],
    ['point.bn', 0],
    ['depth.bn', 0],
  ])
  await t.rejects(names(/nothing/), { message: /No slot can be opened: stem\.conv \(not named by --open\)/ })
  await t.rejects(names(/^even$/), { message: /even \(the windows of its 2x2 kernel have no centre/ })
})

t.test('matrices by design', async (t) => {
  const columns = async (design: 'parallel' | 'series' | 'bn') =>
    (await build(mixed().onnx(), { design })).manifest.slots.map((slot) => slot.columns)
  t.same(await columns('parallel'), [3, 0])
  // Behind a convolution a matrix needs no pixel at the kernel's centre.
  t.same(await columns('series'), [4, 6, 0])
  t.same(await columns('bn'), [0, 0, 0, 0])
})

t.test('anonymous weights give numbered slots, the same ones whatever is opened', async (t) => {
  const net = mixed()
  net.style.names = 'anonymous'
  t.same(
    (await build(net.onnx())).manifest.slots.map((slot) => slot.name),
    ['slot00', 'slot04'],
  )
  t.same(
    (await build(net.onnx(), { open: /slot(01.bn|04)/ })).manifest.slots.map((slot) => slot.name),
    ['slot01.bn', 'slot04'],
  )
})

t.test('a slot is never called head, and weights used twice give two slots', async (t) => {
  const net = new Network(8)
  const first = net.conv('head', 'image', [3, 3])
  const again = net.conv('twice', first, [3, 3])
  const layer = net.layers.at(-1)!
  net.layers.push({ ...layer, x: again, y: 'last' } as typeof layer)
  net.linear('classifier', net.vector('last'), [3, 2])
  const onnx = net.onnx()
  const names = async () => (await build(onnx)).manifest.slots.map((slot) => slot.name)
  t.same(await names(), ['head_2', 'twice', 'twice_2'])
})

t.test('the base takes over scale, bias and classifier', async (t) => {
  const net = new Network(8, { head: 'MatMul' })
  const x = net.bn('a.bn', net.conv('a.conv', 'image', [3, 2], { bias: true }), 2)
  const y = net.relu(net.conv('b.conv', x, [2, 2], { bias: true }))
  net.linear('head', net.vector(y), [2, 3])
  const [conv, bn, plain] = net.layers
  const base = basePack(await build(net.onnx(), { labels: ['x', 'y', 'z'] }))
  if (conv?.op !== 'conv' || bn?.op !== 'bn' || plain?.op !== 'conv') throw new Error('other layers')
  const g = bn.gamma.map((value, i) => value / Math.sqrt(bn.variance[i]! + bn.epsilon))
  const h = bn.beta.map((value, i) => value - bn.mean[i]! * g[i]! + g[i]! * conv.bias![i]!)
  const near = (a: Float32Array, b: Float32Array) => a.every((value, i) => Math.abs(value - b[i]!) < 1e-6)
  const a = base.slots.get('a.conv')!
  t.ok(near(a.scale, g))
  t.ok(near(a.bias, h))
  t.equal(a.matrix, undefined)
  const b = base.slots.get('b.conv')!
  t.same([...b.scale], [1, 1])
  t.same([...b.bias], [...plain.bias!])
  const linear = net.layers.at(-1)!
  if (linear.op !== 'gemm') throw new Error('no linear layer')
  t.same([...base.head!.weight], [...linear.weight])
  t.same([...base.head!.bias], [...linear.bias])
  t.same(base.labels, ['x', 'y', 'z'])
})

t.test('parameters are counted: trunk without what the base owns, adapter, head', async (t) => {
  const { parameters } = (await build(mixed().onnx())).manifest
  const trunk = 4 * 3 * 9 + (4 * 4 + 4 * 4) + (4 * 9 + 4 * 4) + 6 * 4 * 4
  t.same(parameters, { trunk, adapter: 4 * (2 + 3) + 6 * 2, head: 6 * 5 + 5 })
})

t.test('features can be named by node or by value; the classifier behind them is found', async (t) => {
  const net = new Network(8)
  const x = net.vector(net.relu(net.conv('a.conv', 'image', [3, 4])))
  const hidden = net.relu(net.linear('hidden', x, [4, 6]))
  net.linear('head', hidden, [6, 2])
  const onnx = net.onnx()
  t.match((await build(onnx)).manifest, { features: 6, parameters: { head: 6 * 2 + 2 } })
  t.match((await build(onnx, { features: hidden })).manifest, { features: 6, parameters: { head: 14 } })
  // The layer behind the vector is not a classifier, since more layers follow.
  t.match((await build(onnx, { features: x })).manifest, { features: 4, parameters: { head: 0 } })
  t.match((await build(onnx, { features: 'hidden' })).manifest, { features: 6 })
  // A pooled map [N, F, 1, 1] is flattened.
  t.match((await build(onnx, { features: `${x}_map` })).manifest, { features: 4 })
  await t.rejects(build(onnx, { features: 'nowhere' }), { message: /no node and no value named nowhere/ })
  await t.rejects(build(onnx, { features: 'a.conv' }), {
    message: /no feature vector.*\[N, 4, 8, 8\].*--features/,
  })
})

t.test('the fingerprint follows the frozen weights, slots, design and input, and nothing else', async (t) => {
  const make = (seed: number) => {
    const net = new Network(8, {}, seed)
    const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 4]), 4))
    const y = net.conv('b.conv', x, [4, 4], { kernel: [1, 1] })
    net.linear('head', net.vector(net.relu(y)), [4, 2])
    return net
  }
  const id = async (changes: Parameters<typeof build>[1] = {}, net = make(1)) =>
    (await build(net.onnx(), changes)).manifest.fingerprint
  const first = await id()
  t.equal(await id(), first)
  t.equal(await id({ name: 'other', license: 'other', fp16: true, created: 'later' }), first)
  t.equal(await id({ labels: ['a', 'b'] }), first)
  const changed = [
    await id({}, make(2)),
    await id({ design: 'series' }),
    await id({ design: 'bn' }),
    await id({ open: /b\.conv/ }),
    await id({ resize: 9 }),
    await id({ kernel: 'cubic' }),
    await id({ mean: [0.5, 0.5, 0.5] }),
  ]
  // A weight no slot covers is part of what a pack was trained on too.
  const other = make(1)
  const frozen = other.layers.find((layer) => layer.op === 'conv' && layer.name === 'b.conv')
  if (frozen?.op === 'conv') frozen.weight[0]! += 1
  changed.push(await id({}, other))
  t.equal(new Set([first, ...changed]).size, 1 + changed.length)
})
