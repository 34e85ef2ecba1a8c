/** A LoRA as PEFT saves it becomes a pack that answers as PEFT's own merged network. The files: test/fixtures/peft/make.py. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { packCommand } from '../src/commands/pack.js'
import { matrixPlaces } from '../src/compiler/places.js'
import { headLogits } from '../src/engine/heads.js'
import type { Pack } from '../src/pack/pack.js'
import { readPack } from '../src/pack/read.js'
import { readSafetensors, type Tensor, writeSafetensors } from '../src/safetensors/safetensors.js'
import { runCommand } from './run-command.js'
import { type Prediction, runService } from './service-rig.js'
import { basePack, build, openTrunk } from './trunk.js'

const files = path.join(import.meta.dirname, 'fixtures/peft')
const SIDE = 32
const half = [0.5, 0.5, 0.5] as [number, number, number]
const vit = (rank: number | 'full', more = {}) =>
  build(readFileSync(path.join(files, 'vit.onnx')), { rank, mean: half, std: half, ...more })
const expected = JSON.parse(readFileSync(path.join(files, 'expected.json'), 'utf8')) as Record<
  'base' | 'merged',
  number[][]
>

/** The images of make.py, `[4, 32, 32, 3]`. */
function images(): Uint8Array {
  const pixels = new Uint8Array(4 * SIDE * SIDE * 3)
  let at = 0
  for (let n = 0; n < 4; n++)
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++)
        for (let c = 0; c < 3; c++) pixels[at++] = (31 * n + 7 * y + 13 * x + 5 * c * y + n * x) % 256
  return pixels
}

function logits({ head }: Pack, features: Float32Array, sample: number): number[] {
  const out = new Float32Array(head!.classes)
  const length = features.length / 4
  headLogits(features.subarray(sample * length, (sample + 1) * length), length, [0], head!, out)
  return [...out]
}

function softmax(values: number[]): number[] {
  const powers = values.map(Math.exp)
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((power) => power / sum)
}

/** A folder with the family and PEFT's two files, which a test may change. */
async function folder(t: Test, rank: number | 'full', more = {}) {
  const dir = t.testdir({})
  const built = await vit(rank, more)
  const family = path.join(dir, 'vit')
  mkdirSync(family)
  for (const [name, bytes] of built.files) writeFileSync(path.join(family, name), bytes)
  for (const name of ['adapter_model.safetensors', 'adapter_config.json'])
    copyFileSync(path.join(files, name), path.join(dir, name))
  const out = path.join(dir, 'pets.safetensors')
  const weights = path.join(dir, 'adapter_model.safetensors')
  const run = (...flags: string[]) =>
    runCommand(packCommand(), 'import', weights, '--family', family, '--out', out, ...flags)
  const change = (edit: (tensors: Map<string, Tensor>) => void) => {
    const { tensors, metadata } = readSafetensors(readFileSync(weights))
    edit(tensors)
    writeFileSync(weights, writeSafetensors(tensors, metadata))
  }
  const configure = (fields: object) => {
    const config = path.join(dir, 'adapter_config.json')
    writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), ...fields }))
  }
  return { dir, built, out, run, change, configure }
}

for (const rank of [4, 6, 'full'] as const) {
  t.test(`answers are those of PEFT's merged network, in a family of rank ${rank}`, async (t) => {
    const { dir, built, out, run } = await folder(t, rank)
    const { error } = await run('--dtype', 'f32', '--name', 'Pets')
    t.equal(error, '')
    const pack = readPack(readFileSync(out), built.manifest)
    t.match(pack, { name: 'Pets', labels: ['0', '1', '2'] })
    t.equal(pack.slots.size, 8)
    const base = basePack(built)
    const trunk = await openTrunk(built, path.join(dir, 'trunk'))
    const features = await trunk.run([base, pack], images(), [0, 1, 1, 0])
    for (const [sample, [domain, wanted]] of (
      [
        [base, expected.base],
        [pack, expected.merged],
        [pack, expected.merged],
        [base, expected.base],
      ] as const
    ).entries()) {
      const found = logits(domain, features, sample)
      const largest = Math.max(...wanted[sample]!.map(Math.abs))
      for (const [at, value] of wanted[sample]!.entries())
        t.ok(Math.abs(found[at]! - value) < 1e-4 * largest, `sample ${sample}: ${found[at]} is ${value}`)
    }
  })
}

t.test('the service answers so, beside the base', async (t) => {
  const { dir, out, run } = await folder(t, 4)
  await run('--dtype', 'f32')
  const adapters = path.join(dir, 'adapters')
  mkdirSync(adapters)
  const flags = ['--family', path.join(dir, 'vit'), '--adapters', adapters]
  const { url } = await runService(t, [...flags, '--data', path.join(dir, 'data')])
  const type = 'application/octet-stream'
  const put = { method: 'PUT', headers: { 'content-type': type }, body: new Uint8Array(readFileSync(out)) }
  t.equal((await fetch(`${url}/v1/domains/pets`, put)).status, 201)
  const image = images().subarray(0, SIDE * SIDE * 3)
  const raw = { width: SIDE, height: SIDE, channels: 3 } as const
  const form = new FormData()
  for (const domain of ['pets', 'base'])
    form.append(domain, new Blob([new Uint8Array(await sharp(image, { raw }).png().toBuffer())]))
  const answer = await fetch(`${url}/v1/predict?top_k=5`, { method: 'POST', body: form })
  const { results } = (await answer.json()) as { results: Prediction[] }
  for (const [at, wanted] of [expected.merged[0]!, expected.base[0]!].entries()) {
    const scores = softmax(wanted)
    for (const { index, score } of results[at]!.predictions)
      t.ok(Math.abs(score - scores[index]!) < 1e-4, `class ${index}: ${score} is ${scores[index]}`)
  }
})

t.test('labels come from a file; half precision is the default', async (t) => {
  const { dir, built, out, run } = await folder(t, 4)
  const labels = path.join(dir, 'labels.txt')
  writeFileSync(labels, 'cat\ndog\nfish\n')
  const printed = t.capture(process.stdout, 'write', () => true)
  const { error } = await run('--labels', labels)
  const said = printed().map(({ args }) => String(args[0]))
  printed.restore()
  t.equal(error, '')
  t.match(
    said.join(''),
    /pets\.safetensors: a pack of family test, 8 of \d+ slots, a classifier of 3 classes/,
  )
  const bytes = readFileSync(out)
  t.same(readPack(bytes, built.manifest).labels, ['cat', 'dog', 'fish'])
  t.equal(readSafetensors(bytes).tensors.get('head.weight')?.dtype, 'F16')
})

t.test('what a family cannot take is named with a remedy, and nothing is written', async (t) => {
  const query = 'base_model.model.vit.encoder.layer.0.attention.attention.query'
  const refused: [string, (at: Awaited<ReturnType<typeof folder>>) => void, RegExp[]][] = [
    [
      'a LoRA for another architecture, in one line',
      ({ change }) =>
        change((tensors) => {
          for (const [name, tensor] of [...tensors]) {
            tensors.delete(name)
            tensors.set(name.replace('vit.encoder', 'backbone.stages'), tensor)
          }
        }),
      [/none of its 8 layers \("backbone\.stages\.layer\.0[^)]*\.\.\.\) is a slot of family "test"/],
    ],
    [
      'a layer that is no slot',
      ({ change }) =>
        change((tensors) => {
          for (const factor of ['A', 'B'])
            tensors.set(
              `base_model.model.vit.neck.lora_${factor}.weight`,
              tensors.get(`${query}.lora_${factor}.weight`)!,
            )
        }),
      [/layer "vit\.neck" is no slot of family "test": build it with --open/],
    ],
    [
      'half a layer',
      ({ change }) => change((tensors) => tensors.delete(`${query}.lora_B.weight`)),
      [/layer "vit\.encoder\.layer\.0\.attention\.attention\.query" has no lora_B/],
    ],
    [
      'a tensor that nobody knows, and numbers that are none',
      ({ change }) =>
        change((tensors) => {
          const bytes = new Uint8Array(8)
          tensors.set(`${query}.lora_magnitude_vector`, { dtype: 'F32', shape: [2], bytes })
          const { shape } = tensors.get(`${query}.lora_A.weight`)!
          tensors.set(`${query}.lora_A.weight`, { dtype: 'I8', shape, bytes: new Uint8Array(4 * 32) })
        }),
      [/lora_magnitude_vector" \[2\]/, /lora_A has dtype I8, expected F32, F16 or BF16/],
    ],
    [
      "PEFT's older kind of file",
      ({ dir }) =>
        writeFileSync(path.join(dir, 'adapter_model.safetensors'), Buffer.from('PK\u0003\u0004 archive')),
      [/looks like a zip archive, such as a PyTorch checkpoint.*safe_serialization=True/],
    ],
    [
      'another kind of PEFT',
      ({ configure }) => configure({ peft_type: 'IA3' }),
      [/peft_type is "IA3", expected "LORA"/],
    ],
    ['DoRA', ({ configure }) => configure({ use_dora: true }), [/use_dora is true: /]],
    [
      "a LoRA that began by changing the network's own weights",
      ({ configure }) => configure({ init_lora_weights: 'pissa_niter_4' }),
      [/init_lora_weights is "pissa_niter_4", .*path_initial_model_for_weight_conversion/],
    ],
    [
      'two layers for one slot',
      ({ change }) =>
        change((tensors) => {
          for (const factor of ['A', 'B'])
            tensors.set(
              `${query.replace('.vit.', '.network.vit.')}.lora_${factor}.weight`,
              tensors.get(`${query}.lora_${factor}.weight`)!,
            )
        }),
      [/layers "network\.vit\.[^"]*query" and "vit\.[^"]*query" both fit slot "network\.vit\.[^"]*query"/],
    ],
    [
      'no scaling',
      ({ configure }) => configure({ lora_alpha: null }),
      [/lora_alpha is null, expected a number/],
    ],
  ]
  for (const [what, spoil, patterns] of refused)
    await t.test(what, async (t) => {
      const at = await folder(t, 4)
      spoil(at)
      const { error } = await at.run()
      for (const pattern of patterns) t.match(error, pattern)
      t.throws(() => readFileSync(at.out), { code: 'ENOENT' })
    })
})

t.test('a bias that PEFT trained beside the factors of its layer', async (t) => {
  const { built, out, run, change } = await folder(t, 4)
  const layer = 'vit.encoder.layer.0.attention.attention.query'
  const bias = Float32Array.from({ length: 32 }, (_, at) => at / 8)
  change((tensors) =>
    tensors.set(`base_model.model.${layer}.base_layer.bias`, {
      dtype: 'F32',
      shape: [32],
      bytes: new Uint8Array(bias.buffer),
    }),
  )
  t.equal((await run()).error, '')
  const slot = readPack(readFileSync(out), built.manifest).slots.get(`network.${layer}`)!
  t.same(slot.bias, bias)
  t.ok(slot.up)
})

t.test('a rank above that of the slots, and labels that do not match', async (t) => {
  const { dir, run } = await folder(t, 2)
  const labels = path.join(dir, 'labels.json')
  writeFileSync(labels, '["cat"]')
  const { error } = await run('--labels', labels)
  t.match(error, /has rank 4, and its slot takes 2\. Build the family with --rank 4/)
  t.match(error, /there are 1 labels, but the classifier has 3 classes/)
})

t.test('a family without a matrix at a layer of the LoRA', async (t) => {
  const { run } = await folder(t, 4, { slots: matrixPlaces('late', undefined) })
  const { error } = await run()
  t.match(
    error,
    /layer "vit\.encoder\.layer\.0\.[^"]*query": its slot takes no matrix in family "test"\. Build it with a matrix there: --open that names the layer, and no --slots/,
  )
})

t.test('a family without matrices', async (t) => {
  const { run } = await folder(t, 'full', { design: 'bn' })
  const { error } = await run()
  t.match(error, /the family's design is "bn", but a LoRA lies beside its layers/)
  t.match(error, /which has no slot with a matrix/)
})
