/** `facet compress` and `facet pack project`: packs in, a compressed family and its packs out; errors change nothing. */
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { compressCommand } from '../src/commands/compress.js'
import { packCommand } from '../src/commands/pack.js'
import { readFamily } from '../src/family/folder.js'
import type { SlotWeights } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { writePack } from '../src/pack/write.js'
import { Control, random } from './engine-rig.js'
import { Network } from './networks.js'
import { runCommand } from './run-command.js'
import { basePack, build } from './trunk.js'

const control = new Control()
const createWorker = () => control.createWorker()
const SIZE = 12
const classes = ['ant', 'bee', 'cat']

const compress = (...args: string[]) => runCommand(compressCommand(createWorker), ...args)

/** A family of two slots, packs of two domains, and images of both. */
async function stage(t: Test) {
  const dir = t.testdir()
  const net = new Network(SIZE, {}, 8)
  const x = net.relu(net.bn('a.bn', net.conv('a.conv', 'image', [3, 8]), 8))
  const y = net.relu(net.bn('b.bn', net.conv('b.conv', x, [8, 16], { stride: 2 }), 16))
  net.linear('head', net.vector(y), [16, 3])
  const built = await build(net.onnx(), { name: 'tiny', labels: classes })
  const [family, images] = [path.join(dir, 'models', 'tiny'), path.join(dir, 'images')]
  mkdirSync(family, { recursive: true })
  for (const [name, bytes] of built.files) writeFileSync(path.join(family, name), bytes)
  const { name: _, ...base } = basePack(built)
  const packs = ['farm', 'zoo', 'later'].map((domain, seed) => {
    const next = random(seed + 5)
    const slots = built.manifest.slots.map(({ name, out, columns }): [string, SlotWeights] => {
      const draw = (count: number, middle = 0) =>
        Float32Array.from({ length: count }, () => middle + 0.6 * next() - 0.3)
      const matrix = columns > 0 && { matrix: draw(out * columns) }
      return [name, { scale: draw(out, 1), bias: draw(out), ...matrix }]
    })
    const file = path.join(dir, `${domain}.safetensors`)
    writeFileSync(file, writePack({ ...base, slots: new Map(slots) }, built.manifest, { dtype: 'f16' }))
    return file
  })
  const next = random(2)
  for (const domain of ['farm', 'zoo'])
    for (const [split, count] of [
      ['train', 4],
      ['test', 3],
    ] as const)
      for (const label of classes) {
        const folder = path.join(images, domain, split, label)
        mkdirSync(folder, { recursive: true })
        for (let index = 0; index < count; index++) {
          const pixels = Uint8Array.from({ length: 4 * 4 * 3 }, () => next() * 256)
          const image = sharp(pixels, { raw: { width: 4, height: 4, channels: 3 } }).resize(16, 16)
          writeFileSync(path.join(folder, `${index}.png`), await image.png().toBuffer())
        }
      }
  const [farm, zoo, later] = packs as [string, string, string]
  return { dir, family, images, farm, zoo, later, out: path.join(dir, 'models', 'tiny-half') }
}

t.test('packs and images in, a family that checks itself and its packs out', async (t) => {
  const { dir, family, images, farm, zoo, later, out } = await stage(t)
  const { out: report, error } = await compress(
    farm,
    zoo,
    '--family',
    family,
    '--out',
    out,
    '--images',
    images,
    '--limit',
    '9',
  )
  t.equal(error, '')
  t.match(report, /^a\.conv +8 x 3 +\d of 3 +\d+\.\d\d% +\d+\.\d\d% (farm|zoo) +images$/m)
  t.match(report, /^b\.conv +16 x 8 +\d of 8 /m)
  t.match(report, /^zoo +\d+ +\d+\.\d\d% +9 +\d+\.\d\d% +\d+\.\d\d% +-?\d+\.\d\d% +\d+$/m)
  t.match(report, /^size +trunk and 2 domains are \d\.\d\d networks before and \d\.\d\d after/m)
  const packs = path.join(dir, 'adapters', 'tiny-half')
  t.same(readdirSync(packs).sort(), ['farm.safetensors', 'zoo.safetensors'])
  const made = await readFamily(out)
  t.match(made.manifest.compressed, { family: 'tiny', packs: ['farm', 'zoo'], images: 9 })
  const pack = readPack(readFileSync(path.join(packs, 'zoo.safetensors')), made.manifest)
  t.same(Object.keys(pack.slots.get('b.conv')!).sort(), ['bias', 'scale', 'up'])
  t.ok(pack.head?.half, 'numbers stay in the precision in which they came')

  const file = path.join(dir, 'projected.safetensors')
  const projected = await runCommand(packCommand(), 'project', later, '--family', out, '--out', file)
  t.equal(projected.error, '')
  t.same(Object.keys(readPack(readFileSync(file), made.manifest).slots.get('a.conv')!).sort(), [
    'bias',
    'scale',
    'up',
  ])
  const again = await runCommand(
    packCommand(),
    'project',
    file,
    '--family',
    out,
    '--out',
    path.join(dir, 'x'),
  )
  t.match(again.error, /is a pack of tiny-half already/)
  const wrong = await runCommand(
    packCommand(),
    'project',
    later,
    '--family',
    family,
    '--out',
    path.join(dir, 'x'),
  )
  t.match(wrong.error, /tiny is not compressed: it takes packs as they are/)
  const verified = await runCommand(packCommand(), 'verify', later, '--family', out)
  t.match(
    verified.error,
    /belongs to another family.*"tiny-half" was compressed from that family: make its pack with facet pack project/,
  )
  t.match(
    (await compress(file, '--family', out, '--out', path.join(dir, 'y'))).error,
    /tiny-half is compressed already/,
  )
})

t.test('the figures are written as data, of bases that the matrices alone chose too', async (t) => {
  const { dir, family, images, farm, zoo, out } = await stage(t)
  const file = path.join(dir, 'reports', 'plain.json')
  const args = [farm, zoo, '--family', family, '--images', images, '--rank', '0.5', '--uniform']
  const { out: report, error } = await compress(...args, '--out', out, '--limit', '0', '--report', file)
  t.equal(error, '')
  t.match(report, /^b\.conv +16 x 8 +4 of 8 +.* matrices$/m)
  const figures = JSON.parse(readFileSync(file, 'utf8'))
  t.match(figures, {
    family: 'tiny',
    name: 'tiny-half',
    want: { kind: 'uniform', share: 0.5 },
    images: 0,
    slots: [{ name: 'a.conv' }, { name: 'b.conv', rank: 4, most: 8, chosenBy: 'matrices' }],
    domains: [
      { domain: 'farm', images: 9 },
      { domain: 'zoo', images: 9 },
    ],
  })
  const [, networks] = report.match(/networks before and (\d\.\d\d) after/)!
  t.equal(figures.networks.after.toFixed(2), networks)
  t.same((await readFamily(out)).manifest.compressed?.images, 0)
  for (const { before, after } of figures.domains)
    t.ok(before >= 0 && before <= 1 && after >= 0 && after <= 1)

  t.same(readdirSync(path.dirname(file)), ['plain.json'])
})

t.test('where the figures cannot be written is known before any image is looked at', async (t) => {
  const { dir, family, images, farm, zoo, out } = await stage(t)
  const packs = path.join(dir, 'adapters', 'tiny-half')
  const taken = path.join(dir, 'taken')
  mkdirSync(taken)
  // No images: whatever is found out only at work is found out too late.
  const none = path.join(dir, 'none')
  const link = path.join(dir, 'link')
  symlinkSync(path.join(dir, 'models'), link)
  const cases: [string, RegExp][] = [
    [path.join(out, 'x.json'), /\(--report\) is in .*tiny-half \(--out\), .*Choose another place/],
    [path.join(link, 'tiny-half', 'x.json'), /\(--report\) is in .*tiny-half \(--out\), /],
    [path.join(packs, 'deep', 'x.json'), /\(--report\) is in .*tiny-half \(--packs\), /],
    [packs, /\(--packs\) is named with --report too\. Choose another place for one of them/],
    [path.join(dir, 'adapters'), /\(--packs\) is in .*adapters \(--report\), /],
    [taken, /The file \(--report\) .*taken is there already, and is no file\. Name a file in a folder/],
    [
      path.join(farm, 'x.json'),
      /\(--report\) .*farm\.safetensors cannot be used: there is a file of this name/,
    ],
    [path.join(farm, 'y', 'x.json'), /\(--report\) .*y cannot be used: it is a file, and a folder is needed/],
  ]
  const contents = () => readdirSync(dir, { recursive: true }).sort()
  const before = contents()
  const args = [farm, zoo, '--family', family, '--out', out]
  for (const [file, expected] of cases) {
    t.match((await compress(...args, '--images', none, '--report', file)).error, expected)
    t.same(contents(), before, String(expected))
  }
  const file = path.join(dir, 'x.json')
  t.match((await compress(...args, '--images', none, '--report', file)).error, /--images/)
  t.same(contents(), before, 'no half-written file is left')
  t.match((await compress(...args, '--packs', path.join(out, 'p'))).error, /\(--packs\) is in .* \(--out\)/)

  writeFileSync(file, 'old')
  const { error } = await compress(...args, '--images', images, '--measure', '0', '--report', file)
  t.equal(error, '')
  t.match(JSON.parse(readFileSync(file, 'utf8')), { name: 'tiny-half', images: 96 }, 'a file is replaced')
})

t.test('what cannot be compressed is said, and nothing is written', async (t) => {
  const { dir, family, images, farm, zoo, later, out } = await stage(t)
  const full = path.join(dir, 'full')
  mkdirSync(full)
  writeFileSync(path.join(full, 'note.txt'), 'mine')
  const other = path.join(dir, 'other')
  mkdirSync(other)
  writeFileSync(path.join(other, 'farm.safetensors'), readFileSync(zoo))
  const base = path.join(dir, 'base.safetensors')
  writeFileSync(base, readFileSync(path.join(family, 'base.safetensors')))
  const cases: [string[], RegExp][] = [
    [[farm, '--rank', '0.5', '--bytes', '900'], /--rank and --bytes say the same in two ways/],
    [[farm, '--energy', '0.9', '--uniform'], /--uniform goes with --rank, not with --energy/],
    [[farm, '--rank', '2'], /Not a share: a number above 0, and 1 at most/],
    [[farm, '--limit', '9'], /--limit is about images, and there are none\. Name their folder with --images/],
    [[farm, '--measure', '0'], /--measure is about images, .* or leave --measure out/],
    [
      [farm, '--images', images, '--limit', '0', '--measure', '0'],
      /--limit 0 and --measure 0 the images neither choose bases nor measure\. Raise one of them/,
    ],
    [[farm, '--bytes', '0'], /Not a whole number, 1 or more/],
    [[farm, '--name', 'no name'], /"no name" cannot be a family's name/],
    [[farm, path.join(other, 'farm.safetensors')], /Two packs are named farm/],
    [[path.join(dir, 'none.safetensors')], /The pack .*none\.safetensors/],
    [[base], /base\.safetensors is named as the base is/],
    [
      [farm, '--bytes', '20'],
      /20 bytes .* less than one row of every slot takes: 96\. Give at least so many/,
    ],
    [[farm, later, '--images', images], /There are no images of later in /],
    [[farm, '--packs', full], /full holds files already. Choose another folder with --packs/],
  ]
  for (const [args, expected] of cases) {
    const { error } = await compress(...args, '--family', family, '--out', out)
    t.match(error, expected)
    t.notOk(existsSync(out), String(expected))
  }
  t.match((await compress(farm, '--family', family, '--out', full)).error, /full holds files already/)
  t.same(readdirSync(full), ['note.txt'])
  t.notOk(
    readdirSync(path.join(dir, 'models')).some((name) => name.startsWith('.')),
    'no half-written folder is left',
  )
})
