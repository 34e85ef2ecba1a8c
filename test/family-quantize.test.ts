/** `facet family quantize` and `check`: images in, graphs in 8 bits beside a family's own, errors that change nothing. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { checkGraphs } from '../src/commands/family-graphs.js'
import { quantizeCommand } from '../src/commands/family-quantize.js'
import { familyCommand } from '../src/commands/family.js'
import { progress } from '../src/commands/progress.js'
import { readFamily } from '../src/family/folder.js'
import { writePack } from '../src/pack/write.js'
import { Control } from './engine-rig.js'
import { Network } from './networks.js'
import { runCommand } from './run-command.js'
import { random } from './engine-rig.js'
import { basePack, build } from './trunk.js'

const control = new Control()
const createWorker = () => control.createWorker()
const SIZE = 12
const classes = ['ant', 'bee', 'cat']

const quantize = (...args: string[]) => runCommand(quantizeCommand(createWorker), ...args)

/** A family of one slot, and packs of two domains. */
async function writeFamily(dir: string): Promise<{ family: string; packs: string }> {
  const net = new Network(SIZE, {}, 8)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 40]), 40))
  const y = net.relu(net.bn('b.bn', net.conv('b.conv', x, [40, 16], { stride: 2 }), 16))
  net.linear('head', net.vector(y), [16, 3])
  const built = await build(net.onnx(), { name: 'tiny', labels: classes })
  const [family, packs] = [path.join(dir, 'tiny'), path.join(dir, 'packs')]
  for (const folder of [family, packs]) mkdirSync(folder, { recursive: true })
  for (const [name, bytes] of built.files) writeFileSync(path.join(family, name), bytes)
  const { name: _, ...pack } = basePack(built)
  for (const domain of ['farm', 'zoo'])
    writeFileSync(
      path.join(packs, `${domain}.safetensors`),
      writePack(pack, built.manifest, { dtype: 'f32' }),
    )
  return { family, packs }
}

/** So many images of each class, in `<folder>/<split>/<class>/`. */
async function writeImages(folder: string, split: string, count: number, seed = 1): Promise<void> {
  const next = random(seed)
  for (const label of classes) {
    const dir = path.join(folder, split, label)
    mkdirSync(dir, { recursive: true })
    for (let index = 0; index < count; index++) {
      const pixels = Uint8Array.from({ length: 4 * 4 * 3 }, () => next() * 256)
      const image = sharp(pixels, { raw: { width: 4, height: 4, channels: 3 } }).resize(16, 16)
      writeFileSync(path.join(dir, `${index}.png`), await image.png().toBuffer())
    }
  }
}

/** A family, packs, and images of one of their domains. */
async function stage(t: Test) {
  const dir = t.testdir()
  const { family, packs } = await writeFamily(dir)
  const images = path.join(dir, 'images')
  await writeImages(path.join(images, 'farm'), 'train', 3)
  await writeImages(path.join(images, 'farm'), 'test', 4, 2)
  return { dir, family, packs, images }
}

const contents = (folder: string) =>
  Object.fromEntries(
    readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name), 'base64')]),
  )

t.test('a family gains graphs in 8 bits, is measured, and its packs stay valid', async (t) => {
  const { dir, family, packs, images } = await stage(t)
  const before = await readFamily(family)
  const { out, error } = await quantize(family, '--images', images, '--packs', packs, '--limit', '7')
  t.equal(error, '')
  t.match(out, /^calibrated on farm 7$/m)
  t.match(out, /^no images of zoo$/m)
  t.match(out, /^farm +12 +\d+\.\d\d +\d+\.\d\d +-?\d+\.\d\d +\d+$/m)
  t.match(out, /^checked {3}int8, f16 bank: features differ from fp32 by .*e-\d/m)
  t.match(out, /^written .*trunk\.int8\.one\.f16\.onnx \(\d+ bytes\)$/m)
  const after = await readFamily(family)
  t.equal(after.manifest.fingerprint, before.manifest.fingerprint)
  t.match(after.manifest.int8, {
    calibration: [{ domain: 'farm', images: 7 }],
    accuracy: [{ domain: 'farm', images: 12 }],
  })
  for (const serves of ['any', 'one'] as const)
    for (const bank of ['f32', 'f16'] as const)
      t.ok(existsSync(after.graph({ serves, bank, precision: 'int8' })), `${serves}, ${bank}`)
  t.ok((await checkGraphs(after, createWorker)).length === 4)
  t.same(readdirSync(dir).sort(), ['images', 'packs', 'tiny'], 'nothing is left beside it')

  // The same images give the same graphs, and replace what was there.
  const first = contents(family)
  t.equal((await quantize(family, '--images', images, '--packs', packs, '--limit', '7')).error, '')
  const second = contents(family)
  delete first['family.json']
  delete second['family.json']
  t.same(second, first)
})

t.test('into a new folder; from images without splits; of the base', async (t) => {
  const { dir, family, images } = await stage(t)
  const out = path.join(dir, 'new', 'tiny8')
  const before = contents(family)
  const done = await quantize(family, '--images', path.join(images, 'farm', 'train'), '--out', out)
  t.equal(done.error, '')
  t.match(done.out, /^calibrated on base 9$/m)
  t.match(done.out, /^NOT MEASURED/m)
  t.same(contents(family), before)
  t.equal((await readFamily(out)).manifest.int8?.accuracy.length, 0)
  const again = await quantize(family, '--images', images, '--out', out)
  t.match(again.error, /tiny8 holds files already\. Choose another folder with --out/)
})

t.test('what cannot be used is named, and the family stays what it was', async (t) => {
  const { dir, family, packs, images } = await stage(t)
  const before = contents(family)
  const empty = path.join(dir, 'empty')
  mkdirSync(empty)
  const damaged = path.join(dir, 'damaged')
  await writeImages(path.join(damaged, 'farm'), 'train', 1)
  writeFileSync(path.join(damaged, 'farm', 'train', 'bee', '0.png'), 'no image')
  const foreign = path.join(dir, 'foreign')
  mkdirSync(foreign)
  writeFileSync(path.join(foreign, 'farm.safetensors'), 'no pack')
  const cases: [string[], RegExp][] = [
    [
      ['--images', path.join(dir, 'none')],
      /The folder of images \(--images\) .*none cannot be used: there is no such/,
    ],
    [
      ['--images', empty],
      /--images\) .*empty has no images of any pack's domain \(farm, zoo\)\. .*<domain>\/<split>/,
    ],
    [['--images', damaged], /The image .*bee.0\.png cannot be used: .*Take it out of the folder/],
    [
      ['--images', images, '--packs', foreign],
      /The pack .*farm\.safetensors cannot be used: .*Leave it out, or name a pack of the family tiny/,
    ],
    [['--images', images, '--packs', empty + 1], /The folder of packs \(--packs\) .* there is no such/],
    [['--images', images, '--limit', '0'], /Not a whole number, 1 or more/],
    [['--packs', packs], /required option '--images <dir>'/],
  ]
  for (const [flags, message] of cases) {
    const named = flags.includes('--packs') ? flags : [...flags, '--packs', packs]
    const { out, error } = await quantize(family, ...named)
    t.match(error, message)
    t.equal(out, '')
  }
  t.match(
    (await quantize(path.join(dir, 'none'), '--images', images)).error,
    /The family .*none cannot be used/,
  )
  t.same(contents(family), before)
  t.same(readdirSync(dir).sort(), ['damaged', 'empty', 'foreign', 'images', 'packs', 'tiny'])
})

t.test('a graph that computes something else is found', async (t) => {
  const { family, packs, images } = await stage(t)
  await quantize(family, '--images', images, '--packs', packs, '--measure', '0')
  const read = await readFamily(family)
  const graphs = read.manifest.graphs!.map((variant) =>
    variant.weights === 'int8' && variant.serves === 'one'
      ? { ...variant, file: 'trunk.int8.onnx' }
      : variant,
  )
  const broken = {
    ...read,
    graph: (need: Parameters<typeof read.graph>[0]) => {
      const file = graphs.find(
        ({ serves, bank, weights }) =>
          serves === need.serves &&
          bank === need.bank &&
          (weights === 'int8') === (need.precision === 'int8'),
      )!.file
      return path.join(family, file)
    },
  }
  await t.rejects(checkGraphs(broken, createWorker), {
    name: 'FamilyError',
    message: /its int8 graphs with an f32 bank cannot be run: .*does not fit its manifest/,
  })
  writeFileSync(path.join(family, 'trunk.int8.weights'), 'short')
  t.match(
    (await runCommand(familyCommand(), 'check', family)).error,
    /trunk\.int8\.weights has 5 bytes, the manifest says/,
  )
})

t.test('a build over the family takes its graphs in 8 bits away', async (t) => {
  const { dir, family, packs, images } = await stage(t)
  await quantize(family, '--images', images, '--packs', packs, '--measure', '0')
  const net = new Network(6)
  net.linear('head', net.vector(net.conv('a', 'image', [3, 2])), [2, 2])
  writeFileSync(path.join(dir, 'net.onnx'), net.onnx())
  await runCommand(
    familyCommand(),
    'build',
    path.join(dir, 'net.onnx'),
    '--out',
    family,
    '--no-check',
    '--force',
  )
  t.notOk(readdirSync(family).some((name) => name.includes('int8')))
  t.equal((await readFamily(family)).manifest.int8, undefined)
})

t.test('progress is a bar on a terminal, and elsewhere a line a domain', async (t) => {
  const written = (isTTY: boolean) => {
    let text = ''
    const show = progress('measuring', 'images', {
      isTTY,
      write: (part: string | Uint8Array) => {
        text += part
        return true
      },
    } as NodeJS.WriteStream)
    show('farm', 1, 2)
    show('farm', 2, 2)
    return text
  }
  t.equal(written(false), 'measuring farm: 2 images\n')
  t.match(written(true), /measuring \[#{12}\.{12}\] farm 1\/2.*\[#{24}\] farm 2\/2\n$/s)
})
