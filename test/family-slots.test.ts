/** `facet family build --slots`: matrices at some slots of a family, scale and bias at the others. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { familyCommand } from '../src/commands/family.js'
import { matrixPlaces, slotsAt } from '../src/compiler/places.js'
import { findGraph } from '../src/manifest/graphs.js'
import type { FamilyManifest } from '../src/manifest/manifest.js'
import { loadModel } from '../src/onnx/onnx.js'
import { readPack } from '../src/pack/read.js'
import { writePack } from '../src/pack/write.js'
import { Network } from './networks.js'
import { runCommand } from './run-command.js'
import { basePack, build } from './trunk.js'

const shipped = JSON.parse(readFileSync('models/resnet26-half/family.json', 'utf8')) as FamilyManifest

interface Choice {
  slots: string[]
  /** What is chosen, by `--slots`. */
  chosen: Record<string, string[]>
}

/** `training/tests/test_slots.py` reads the same file. */
const choices = JSON.parse(readFileSync('test/fixtures/slot-choices.json', 'utf8')) as Choice[]

t.test('words and patterns choose the slots that they choose in training', async (t) => {
  t.same(
    choices[0]!.slots,
    shipped.slots.filter(({ columns }) => columns > 0).map(({ name }) => name),
    'the first are those of resnet26-half',
  )
  for (const { slots, chosen } of choices) {
    // A slot that takes no matrix does not count.
    const open = [{ name: 'norm', columns: 0 }, ...slots.map((name) => ({ name, columns: 1 }))]
    const found = { open: open.map((slot) => ({ slot })), closed: [] }
    for (const [text, names] of Object.entries(chosen))
      t.same([...slotsAt(matrixPlaces(text, undefined), found)], names, `${text} of ${slots.length}`)
  }
})

/** The slots of resnet26-half one after the other. */
function paper(): Network {
  const net = new Network(16)
  let x = 'image'
  for (const { name, kind, in: channels, out, stride } of shipped.slots) {
    if (kind === 'norm') x = net.relu(net.bn(name, net.relu(x), out))
    else
      x = net.bn(name.replace('.conv', '.bn'), net.conv(name, x, [channels, out], { stride: stride[0] }), out)
  }
  net.linear('head', net.vector(x), [128, 2])
  return net
}

/** Three convolutions that take a matrix, and others that do not. */
function small(): Network {
  const net = new Network(8, {}, 3)
  const a = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 16]), 16))
  const b = net.relu(net.bn('b.bn', net.conv('b.conv', a, [16, 16], { stride: 2 }), 16))
  const point = net.relu(net.conv('point', b, [16, 16], { kernel: [1, 1] }))
  const c = net.relu(net.bn('c.bn', net.conv('c.conv', point, [16, 16]), 16))
  net.linear('head', net.vector(net.relu(net.bn('norm', net.add(c, point), 16))), [16, 3])
  return net
}

const columnsOf = ({ slots }: FamilyManifest) =>
  Object.fromEntries(slots.map(({ name, columns }) => [name, columns]))

function facet(t: Test, net: Network, files: Record<string, string> = {}) {
  const dir = t.testdir({ 'net.onnx': Buffer.from(net.onnx()), ...files })
  const at = (name: string) => path.join(dir, name)
  return {
    at,
    run: (...args: string[]) => runCommand(familyCommand(), 'build', at('net.onnx'), ...args),
  }
}

t.test('--plan shows what slots with and without a matrix cost', async (t) => {
  const { run } = facet(t, paper())
  const { out, error } = await run('--plan', '--slots', 'early+late')
  t.equal(error, '')
  t.match(
    out,
    /^would open .*; matrices at 17 of the 25 slots that take one \(--slots early\+late\), scale and bias at the others$/m,
  )
  t.match(out, /^stem\.conv +conv +3 -> 16 +3x3\/1x1 +16x3 +80 /m)
  t.match(out, /^blocks\.4\.c1\.conv +conv +32 -> 64 +3x3\/2x2 +- +128 /m)
  t.match(out, /^blocks\.8\.c1\.conv +conv +64 -> 128 +3x3\/2x2 +128x64 +8448 /m)
  // Scales and biases of all, and the matrices of the first nine and of the last eight.
  const affine = 2 * (16 + 8 * 32 + 8 * 64 + 8 * 128 + 128)
  const matrices = 3 * 16 + 16 * 32 + 7 * 32 * 32 + 64 * 128 + 7 * 128 * 128
  t.match(out, new RegExp(`^all slots +${affine + matrices} +9\\.\\d%$`, 'm'))
})

t.test('a family with matrices at the slots of a file', async (t) => {
  const { at, run } = facet(t, small(), { 'list.txt': '# what costs most\r\nc.conv\r\n\n  a.conv\n' })
  const { out, error } = await run('--out', at('some'), '--slots', at('list.txt'), '--no-check')
  t.equal(error, '')
  t.match(out, /^opened .*; matrices at 2 of the 3 slots/m)
  t.match(out, /^b\.conv +conv +16 -> 16 +3x3\/2x2 +- +32 /m)
  const manifest = JSON.parse(readFileSync(at('some/family.json'), 'utf8')) as FamilyManifest
  t.same(columnsOf(manifest), { 'a.conv': 3, 'b.conv': 0, 'c.conv': 16, norm: 0 })

  const [words, all] = [
    await build(small().onnx(), { slots: matrixPlaces('early+late', undefined) }),
    await build(small().onnx()),
  ]
  t.equal(words.manifest.fingerprint, manifest.fingerprint, 'the same by words')
  t.not(all.manifest.fingerprint, manifest.fingerprint)
  t.equal(all.manifest.parameters.adapter - manifest.parameters.adapter, 16 * 16)
  t.equal(all.manifest.parameters.trunk, manifest.parameters.trunk)
  for (const serves of ['any', 'one'] as const) {
    const { file } = findGraph(manifest, { serves, bank: 'f32' })!
    const { inputs } = loadModel(words.files.get(file)!, (name) => words.files.get(name))
    const matrices = inputs.map(({ name }) => name).filter((name) => name.startsWith('matrix.'))
    t.same(matrices, ['matrix.a.conv', 'matrix.c.conv'], serves)
  }
})

t.test('--open says what is opened, --slots where matrices are among that', async (t) => {
  const of = async (open: RegExp, slots: string, rank?: number) => {
    const wishes = { open, slots: matrixPlaces(slots, undefined), ...(rank === undefined ? {} : { rank }) }
    return columnsOf((await build(small().onnx(), wishes)).manifest)
  }
  t.same(await of(/point|conv/, 'middle'), { 'a.conv': 0, 'b.conv': 0, point: 16, 'c.conv': 0 })
  t.same(await of(/point|norm/, 'point'), { point: 16, norm: 0 })
  t.same(
    await of(/^[ab].conv/, 'b', 9),
    { 'a.conv': 0, 'b.conv': 16 },
    'a rank need not fit a slot without a matrix',
  )
})

t.test('a pack with other matrices is refused, with its cause and what to do', async (t) => {
  const all = await build(small().onnx())
  const { manifest } = await build(small().onnx(), { slots: matrixPlaces('late', undefined) })
  const bytes = writePack(basePack(all), all.manifest, { dtype: 'f32' })
  t.throws(() => readPack(bytes, manifest), {
    message: /belongs to another family, whose backbone, slots, matrices, .* differ\. Train it for this one/,
  })
  const base = basePack(all)
  const slots = new Map([
    ...base.slots,
    ['a.conv', { ...base.slots.get('a.conv')!, matrix: new Float32Array(48) }],
  ])
  const disguised = { ...all.manifest, fingerprint: manifest.fingerprint }
  const forged = writePack({ ...base, family: manifest.fingerprint, slots }, disguised, { dtype: 'f32' })
  t.throws(() => readPack(forged, manifest), {
    message:
      /"a\.conv\.matrix": this slot takes no matrix in family "test", scale and bias alone: leave the tensor out/,
  })
})

t.test('what chooses no slot is refused, with what there is', async (t) => {
  const { at, run } = facet(t, small(), {
    'typing.txt': 'a.conv\nb.cnov\nnorm\npoint\nhead\n',
    'empty.txt': '# nothing yet\n\n',
  })
  const refusals: [string[], RegExp][] = [
    [
      ['--slots', 'erly'],
      /--slots "erly" chooses no slot with a matrix, and there is no such file\. Give early, middle or late \(joined by \+\), a file of slot names, or a regular expression\. The slots that take a matrix are a\.conv, b\.conv, c\.conv; --plan/,
    ],
    [
      ['--slots', 'norm|point'],
      /chooses no slot with a matrix \(norm takes scale and bias alone, point stays frozen \(pointwise: opened only if --open names it\)\)/,
    ],
    [['--slots', '('], /--slots "\(" cannot be read: .*Unterminated group\. Give early, middle or late/],
    [['--slots', 'late', '--open', '^[ab].conv'], /--slots "late" chooses no slot with a matrix\. Give/],
    [
      ['--slots', 'early', '--open', 'norm'],
      /No slot that is opened takes a matrix: leave --slots out, or open other/,
    ],
    [
      ['--slots', at('typing.txt')],
      /typing\.txt \(--slots\) names what has no matrix: "b\.cnov" is no slot: did you mean b\.conv\?, "norm" takes scale and bias alone, "point" stays frozen \(.*\), "head" is no slot of this network\. The slots/,
    ],
    [
      ['--slots', at('empty.txt')],
      /empty\.txt \(--slots\) names no slot\. Write the name of a slot on each line/,
    ],
    ...['bn', 'feature'].map((design): [string[], RegExp] => [
      ['--slots', 'early', '--design', design],
      new RegExp(
        `A family of design ${design} has no matrices: leave --slots out, or choose the design parallel`,
      ),
    ]),
  ]
  for (const [args, message] of refusals) t.match((await run('--out', at('x'), ...args)).error, message)
  t.notOk(existsSync(at('x')))
  t.same(matrixPlaces('early', 'b.conv'), matrixPlaces('early', undefined), 'a word is no name of a file')
})
