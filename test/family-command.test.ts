/** `facet family build` and `show`: files in, a family's folder out, errors that change nothing. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { onnx as Onnx } from 'onnx-proto'
import onnxProto from 'onnx-proto'
import t from 'tap'
import { familyCommand } from '../src/commands/family.js'
import { readFamily } from '../src/family/folder.js'
import { Network } from './networks.js'
import { runCommand } from './run-command.js'

const { onnx } = onnxProto

const facet = (...args: string[]) => runCommand(familyCommand(), ...args)

function backbone(): Network {
  const net = new Network(10)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 12]), 12))
  const y = net.relu(net.bn('b.bn', net.conv('b.conv', x, [12, 12], { stride: 2 }), 12))
  const even = net.conv('even', y, [12, 4], { kernel: [2, 2], pads: [0, 0, 0, 0] })
  net.linear('head', net.vector(net.relu(even)), [4, 3])
  return net
}

t.test('builds a folder that reads as a family, and shows it', async (t) => {
  const dir = t.testdir({ 'net.onnx': Buffer.from(backbone().onnx()), 'labels.txt': 'ant\nbee\n\ncat \n' })
  const out = path.join(dir, 'models', 'tiny')
  const built = await facet(
    ...['build', path.join(dir, 'net.onnx'), '--out', out, '--labels', path.join(dir, 'labels.txt')],
    ...['--design', 'series', '--resize', '12', '--kernel', 'cubic', '--mean', '0.5,0.4,0.3'],
    ...['--std', '0.2 0.2 0.2', '--license', 'CC0-1.0', '--description', 'a test'],
  )
  t.equal(built.error, '')
  t.match(built.out, /^checked: features equal the backbone's within \d\.\de-\d+ of the largest feature$/m)
  t.match(built.out, /a\.conv +conv +3 -> 12 +3x3\/1x1 +12x12/)
  t.match(
    built.out,
    /even +conv +12 -> 4 +2x2\/1x1 +4x4/,
    'a matrix behind a layer needs no pixel at its centre',
  )
  const family = await readFamily(out)
  t.match(family.manifest, {
    name: 'tiny',
    design: 'series',
    input: {
      height: 10,
      width: 10,
      resize: 12,
      kernel: 'cubic',
      mean: [0.5, 0.4, 0.3],
      std: [0.2, 0.2, 0.2],
    },
    license: 'CC0-1.0',
    provenance: { description: 'a test', source: /^net\.onnx \(sha256 [0-9a-f]{64}\)$/ },
  })
  t.same(family.base.labels, ['ant', 'bee', 'cat'])
  t.same(readdirSync(path.join(dir, 'models')), ['tiny'], 'nothing is left beside it')
  const shown = (await facet('show', out)).out
  t.match(shown, new RegExp(`tiny \\(series\\), fingerprint ${family.manifest.fingerprint}`))
  t.match(shown, /^graphs {4}trunk\.onnx: batches of any domains, f32 bank, f32 weights$/m)
  t.match(shown, /^ {10}trunk\.one\.f16\.onnx: batches of one domain, f16 bank, f32 weights$/m)
})

/** Without the check, which starts an engine (`family-check.test.ts`). */
const build = (backbone: string, out: string, ...more: string[]) =>
  facet('build', backbone, '--out', out, '--no-check', ...more)

t.test("a folder whose name cannot be the family's", async (t) => {
  const dir = t.testdir({ 'net.onnx': Buffer.from(backbone().onnx()) })
  const [net, out] = [path.join(dir, 'net.onnx'), path.join(dir, 'Größe')]
  t.match((await build(net, out)).error, /"Größe" cannot be a family's name: .* Give one with --name/)
  t.notOk(existsSync(out))
  t.equal((await build(net, out, '--name', 'size')).error, '')
})

t.test('says what it chose, and what it could not open', async (t) => {
  const dir = t.testdir({ 'net.onnx': Buffer.from(backbone().onnx()) })
  const { out, error } = await build(path.join(dir, 'net.onnx'), path.join(dir, 'tiny'))
  t.equal(error, '')
  t.match(
    out,
    /^opened {4}design parallel: whole matrices at convolutions larger than 1x1, .* 100% of its multiplications/m,
  )
  t.match(out, /NOT OPENED {2}even \(even\): the windows of its 2x2 kernel/)
  const factors = (await build(path.join(dir, 'net.onnx'), path.join(dir, 'other'), '--rank', '4')).out
  t.match(factors, /^opened {4}design parallel: factors of rank 4/m)
  t.match(factors, /a\.conv +conv +3 -> 12 +3x3\/1x1 +12x3 /, 'where factors would be no smaller')
  t.match(factors, /b\.conv +conv +12 -> 12 +3x3\/2x2 +12x4 4x12 /)
})

t.test('--plan shows the slots with their costs and writes nothing', async (t) => {
  const dir = t.testdir({ 'net.onnx': Buffer.from(backbone().onnx()) })
  const plan = (...args: string[]) => facet('build', path.join(dir, 'net.onnx'), '--plan', ...args)
  const { out, error } = await plan()
  t.equal(error, '')
  t.match(out, /^would open {2}design parallel: whole matrices/m)
  t.match(out, /^slot +kind +channels +kernel\/stride +matrix +parameters +of trunk$/m)
  t.match(out, /^a\.conv +conv +3 -> 12 +3x3\/1x1 +12x3 +60 +3\.3%$/m)
  t.match(out, /^all slots +228 +12\.6%$/m)
  t.match(out, /NOT OPENED {2}even/)
  t.notMatch(out, /WARNING/)
  t.match((await plan('--design', 'bn')).out, /^WARNING {3}the slots hold 2\.6%|^all slots +48 +2\.6%$/m)
  t.match((await plan('--open', '^a.bn$')).out, /^all slots +24 +1\.\d%$/m)
  t.match((await plan('--out', path.join(dir, 'x'))).out, /^nothing was written/m)
  t.same(readdirSync(dir), ['net.onnx'])
})

t.test('warns of slots that hold next to nothing, or almost a network', async (t) => {
  const net = new Network(10)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 64]), 64))
  const y = net.conv('b.conv', x, [64, 64])
  const point = net.conv('point', y, [64, 256], { kernel: [1, 1] })
  net.linear('head', net.vector(net.relu(point)), [256, 3])
  const dir = t.testdir({ 'net.onnx': Buffer.from(net.onnx()) })
  const plan = async (...args: string[]) => {
    return (await facet('build', path.join(dir, 'net.onnx'), '--plan', ...args)).out
  }
  t.match(await plan('--open', '^a.bn$'), /^WARNING {3}the slots hold 0\.2% of the network: .*--rank/m)
  t.match(
    await plan('--open', 'point'),
    /^WARNING {3}the slots hold \d\d\.\d% of the network: a domain costs/m,
  )
  t.notMatch(await plan('--design', 'feature'), /WARNING/)
})

t.test('builds over a family, and drops a file it no longer has', async (t) => {
  const dir = t.testdir({ 'net.onnx': Buffer.from(backbone().onnx()) })
  const out = path.join(dir, 'tiny')
  await build(path.join(dir, 'net.onnx'), out)
  t.ok(existsSync(path.join(out, 'trunk.weights')))
  const net = new Network(6)
  net.linear('head', net.vector(net.conv('a', 'image', [3, 2])), [2, 2])
  writeFileSync(path.join(dir, 'net.onnx'), net.onnx())
  const before = readFileSync(path.join(out, 'family.json'), 'utf8')
  t.match(
    (await build(path.join(dir, 'net.onnx'), out)).error,
    /tiny holds another family, tiny, and packs made for it do not fit the new one\. .*--force/,
  )
  t.equal(readFileSync(path.join(out, 'family.json'), 'utf8'), before)
  t.equal((await build(path.join(dir, 'net.onnx'), out, '--force')).error, '')
  t.equal((await build(path.join(dir, 'net.onnx'), out)).error, '', 'the same family again')
  t.notOk(existsSync(path.join(out, 'trunk.weights')))
  t.equal((await readFamily(out)).manifest.input.height, 6)
})

t.test('leaves a folder with other files alone unless forced', async (t) => {
  const dir = t.testdir({ 'net.onnx': Buffer.from(backbone().onnx()), full: { 'letter.txt': 'dear' } })
  const out = path.join(dir, 'full')
  const refused = await build(path.join(dir, 'net.onnx'), out)
  t.match(refused.error, /holds files, but no family.*--force/)
  t.same(readdirSync(out), ['letter.txt'])
  t.equal((await build(path.join(dir, 'net.onnx'), out, '--force')).error, '')
  t.ok(readdirSync(out).includes('letter.txt'))
  t.ok(await readFamily(out))
})

t.test('a backbone it cannot open changes nothing', async (t) => {
  const dir = t.testdir({ 'net.onnx': 'no network', 'good.onnx': Buffer.from(backbone().onnx()) })
  const out = path.join(dir, 'tiny')
  t.match((await build(path.join(dir, 'net.onnx'), out)).error, /not an ONNX model/)
  t.match(
    (await build(path.join(dir, 'none.onnx'), out)).error,
    /The backbone .*none\.onnx cannot be used: there is no such file.*Name the ONNX file/,
  )
  t.notOk(existsSync(out))
  await build(path.join(dir, 'good.onnx'), out)
  const before = readFileSync(path.join(out, 'family.json'), 'utf8')
  t.match((await build(path.join(dir, 'net.onnx'), out)).error, /not an ONNX model/)
  t.equal(readFileSync(path.join(out, 'family.json'), 'utf8'), before)
  t.match((await facet('show', dir)).error, /family\.json.*no such file/s)
})

t.test('external data of the backbone is read beside it, and nowhere else', async (t) => {
  const model = onnx.ModelProto.decode(backbone().onnx())
  const weight = model.graph!.initializer!.find((entry) => entry.name === 'b.conv.weight') as Onnx.TensorProto
  const data = Buffer.from(weight.rawData)
  const write = (location: string) => {
    weight.rawData = new Uint8Array()
    weight.dataLocation = onnx.TensorProto.DataLocation.EXTERNAL
    weight.externalData = [{ key: 'location', value: location }]
    return Buffer.from(onnx.ModelProto.encode(model).finish())
  }
  const dir = t.testdir({
    'plain.onnx': Buffer.from(backbone().onnx()),
    'net.onnx': write('net.bin'),
    'net.bin': data,
    'far.onnx': write('../far.bin'),
    'absolute.onnx': write('/far.bin'),
    'lost.onnx': write('lost.bin'),
  })
  const run = (name: string) => build(path.join(dir, `${name}.onnx`), path.join(dir, `out-${name}`))
  t.equal((await run('net')).error, '')
  t.equal((await run('plain')).error, '')
  const [a, b] = await Promise.all(['out-net', 'out-plain'].map((name) => readFamily(path.join(dir, name))))
  t.equal(a!.manifest.fingerprint, b!.manifest.fingerprint)
  t.match((await run('far')).error, /"\.\.\/far\.bin" is outside the model's folder/)
  t.match((await run('absolute')).error, /"\/far\.bin" is outside the model's folder/)
  t.match((await run('lost')).error, /"lost\.bin", which is not beside the model/)
})

t.test('a file of another kind is named, with what to do', async (t) => {
  const dir = t.testdir({
    'net.onnx': Buffer.from(backbone().onnx()),
    'net.pt': Buffer.from('PK\u0003\u0004 archive/data.pkl'),
    'net.pkl': Buffer.from([0x80, 4, 0x95, 0]),
    'lfs.onnx': 'version https://git-lfs.github.com/spec/v1\noid sha256:0',
    'page.onnx': '<!DOCTYPE html>',
    'empty.onnx': '',
    'some.safetensors': Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}')]),
  })
  const run = async (name: string) =>
    (await facet('build', path.join(dir, name), '--out', path.join(dir, 'x'))).error
  t.match(
    await run('net.pt'),
    /net\.pt is not an ONNX model: .* zip archive, such as a PyTorch.*torch\.onnx\.export/,
  )
  t.match(await run('net.pkl'), /a Python pickle/)
  t.match(await run('lfs.onnx'), /Git LFS pointer.*git lfs pull/)
  t.match(await run('page.onnx'), /a web page/)
  t.match(await run('empty.onnx'), /an empty file/)
  t.match(await run('some.safetensors'), /a safetensors file/)
  t.match(await run('.'), /The backbone \S+ cannot be used: it is a folder/)
  t.match(
    (await facet('build', path.join(dir, 'net.onnx'), '--out', path.join(dir, 'net.pt'))).error,
    /The folder \(--out\) \S+net\.pt cannot be used: it is a file, and a folder is needed/,
  )
  t.match(
    (
      await facet(
        'build',
        path.join(dir, 'net.onnx'),
        '--out',
        path.join(dir, 'x'),
        '--labels',
        path.join(dir, 'no.txt'),
      )
    ).error,
    /The labels \(--labels\) \S+no\.txt cannot be used: there is no such file/,
  )
  t.notOk(existsSync(path.join(dir, 'x')))
  const out = path.join(dir, 'tiny')
  t.match((await build(path.join(dir, 'net.onnx'), out)).out, /^NOT CHECKED .*--no-check/m)
  const again = await build(path.join(out, 'trunk.onnx'), path.join(dir, 'x'))
  t.match(again.error, /the trunk of a family that is built already\. Build from the backbone/)
})

t.test('bad options are named', async (t) => {
  const dir = t.testdir({
    'net.onnx': Buffer.from(backbone().onnx()),
    'labels.json': '["a", 1]',
    'bad.json': '[',
  })
  const run = async (...args: string[]) =>
    (await facet('build', path.join(dir, 'net.onnx'), '--out', path.join(dir, 'x'), ...args)).error
  t.match(await run('--design', 'wide'), /--design.*wide.*parallel/)
  t.match(await run('--open', '('), /--open/)
  t.match(await run('--rank', '0'), /--rank.*whole number/)
  t.match(await run('--rank', '13'), /rank 13 \(--rank\) is above the width of the layer b\.conv/)
  t.match(await run('--height', 'tall'), /--height.*whole number of pixels/)
  t.match(await run('--mean', '1,2'), /--mean.*three numbers/)
  t.match(await run('--std', '1,0,1'), /--std.*larger than 0/)
  t.match(
    await run('--labels', path.join(dir, 'labels.json')),
    /labels\.json are not a JSON array of strings/,
  )
  t.match(await run('--labels', path.join(dir, 'bad.json')), /bad\.json are not valid JSON/)
  t.match(await run('--wrong'), /unknown option '--wrong'/)
  t.match((await facet('build', 'x.onnx')).error, /--out/)
  t.notOk(existsSync(path.join(dir, 'x')))
})
