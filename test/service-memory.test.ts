/**
 * The memory account in three ways: `/v1/family`, `/metrics`, and a sum by hand over the resident domains.
 */
import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import type { FamilyManifest } from '../src/manifest/manifest.js'
import { readSafetensors } from '../src/safetensors/safetensors.js'
import { Network } from './networks.js'
import { metricsOf, packBytes, pngImage, predict, put, runService, sampleOf } from './service-rig.js'
import { build } from './trunk.js'

interface View {
  domain: string
  version: string
  residency: string
  classes: number
  bytes: { resident: number }
}

interface Memory {
  trunk_bytes: number
  adapter_bytes: number
  head_bytes: number
  specialised: { networks: number; bytes: number }
  rows: { used: number; capacity: number }
  dedicated_bytes: number
  saving: number
  note?: string
}

const image = await pngImage(5)
const { parameters, features, slots } = JSON.parse(
  await readFile('models/resnet26-half/family.json', 'utf8'),
) as FamilyManifest

const F32 = 4
const trunk = F32 * parameters.trunk
/** The bank allocates words of eight bytes. */
const words = (bytes: number) => 8 * Math.ceil(bytes / 8)
/** Values of a row: every tensor of a whole pack except its head, and mean and std of the three channels. */
const row =
  6 +
  [...readSafetensors(packBytes(1, 'a')).tensors]
    .filter(([name]) => !name.startsWith('head.'))
    .reduce((sum, [, { shape }]) => sum + shape.reduce((product, size) => product * size, 1), 0)
const baseClasses = readSafetensors(await readFile('models/resnet26-half/base.safetensors')).tensors.get(
  'head.weight',
)!.shape[0]!
/** A head: the base's in single precision, the packs' weights in half as they have them. */
const head = (classes: number) => classes * ((classes === baseClasses ? F32 : 2) * features + F32)
/** A network of its own: the trunk with the adapter merged into its convolutions, which then have a bias a
 * channel; a normalisation that stands alone has a scale, too; and the head. */
const merged = slots.reduce((sum, { kind, out }) => sum + (kind === 'norm' ? 2 : 1) * out, 0)
const dedicated = (classes: number) => trunk + F32 * merged + head(classes)

for (const dtype of ['f32', 'f16'] as const) {
  t.test(`the account of what is resident, ${dtype} bank`, async (t) => {
    const adapter = row * (dtype === 'f16' ? 2 : F32)
    const rows = 5
    // Five rows and their heads, of at most ten classes but for the base's.
    const bank = words(adapter + head(baseClasses)) + (rows - 1) * words(adapter + head(10))
    const flags = ['--bank-dtype', dtype, '--bank-memory', String(bank), '--min-residency', '0ms']
    const { url } = await runService(t, flags)
    const json = async (path: string) => (await fetch(`${url}${path}`)).json()

    const check = async (what: string, resident: string[], used = resident.length) => {
      const { domains } = (await json('/v1/domains?limit=1000')) as { domains: View[] }
      const here = domains.filter(({ residency }) => residency === 'resident')
      t.same(here.map(({ domain }) => domain).sort(), [...resident].sort(), what)
      for (const { classes, bytes } of here) t.equal(bytes.resident, words(adapter + head(classes)))
      const expected = {
        // One lane, two graphs.
        trunk_bytes: 2 * trunk,
        adapter_bytes: used * adapter,
        // A version that was replaced stays until its row is needed; all packs here have five classes.
        head_bytes: here.reduce((sum, { classes }) => sum + head(classes), (used - here.length) * head(5)),
        specialised: { networks: 0, bytes: 0 },
        rows: { used, capacity: Math.floor(bank / 4096) },
        dedicated_bytes: here.reduce((sum, { classes }) => sum + dedicated(classes), 0),
      }
      const { adapter_bytes, head_bytes, dedicated_bytes } = expected
      const idle = (used - here.length) * (adapter + head(5))
      const breakEven = Math.ceil((2 * trunk + idle) / (dedicated(0) - head(0) - adapter))
      const saving = dedicated_bytes / (2 * trunk + adapter_bytes + head_bytes)
      const { memory } = (await json('/v1/family')) as { memory: Memory }
      const { note, ...figures } = memory
      t.same(figures, { ...expected, saving }, what)
      t.equal(note !== undefined, saving < 1, `${what}: a note below 1`)
      const pays = here.length >= breakEven
      t.equal(saving >= 1, pays, `${what}: it pays from ${breakEven} domains on`)
      if (note) t.match(note, ` pays from ${breakEven} resident domains on`)

      const text = await metricsOf(url)
      const gauge = (name: string) => sampleOf(text, name)
      t.same(
        {
          trunk_bytes: gauge('facet_trunk_bytes'),
          adapter_bytes: gauge('facet_adapter_bytes{tier="resident"}') - head_bytes,
          head_bytes,
          specialised: {
            networks: gauge('facet_specialised_domains'),
            bytes: gauge('facet_specialised_bytes'),
          },
          rows: { used: gauge('facet_bank_rows_used'), capacity: gauge('facet_bank_rows_capacity') },
          dedicated_bytes: gauge('facet_dedicated_equivalent_bytes'),
          saving: gauge('facet_memory_saving_ratio'),
        },
        figures,
        `${what}: the gauges`,
      )
      t.equal(gauge('facet_memory_break_even_domains'), breakEven)
      t.equal(gauge('facet_domains{state="resident"}'), here.length)
      t.same(
        [...text.matchAll(/^facet_adapter_loaded\{(.*)\} 1$/gm)].map(([, labels]) => labels).sort(),
        resident
          .map(
            (domain) =>
              `domain="${domain}",tier="${domain === 'shop' ? 'store' : 'seed'}",pinned="${domain === 'base'}"`,
          )
          .sort(),
        `${what}: what is loaded`,
      )
      t.equal(gauge('facet_domains{state="cold"}'), domains.length - here.length)
      t.equal(gauge('facet_bank_capacity_bytes'), bank)
    }

    await check('at start', ['base'])
    for (const domain of ['eurosat', 'sign_digits']) await predict(url, domain, image)
    await check('two shipped packs asked for', ['base', 'eurosat', 'sign_digits'])
    await (await put(url, 'shop', packBytes(1, 'a'))).arrayBuffer()
    await check('one registered', ['base', 'eurosat', 'sign_digits', 'shop'])
    await (await put(url, 'shop', packBytes(2, 'b'))).arrayBuffer()
    await check('its pack replaced', ['base', 'eurosat', 'sign_digits', 'shop'], 5)
    await predict(url, 'fashion_mnist', image)
    await check('one more: the old version goes', ['base', 'eurosat', 'sign_digits', 'shop', 'fashion_mnist'])
    await predict(url, 'dtd10', image)
    await check('the bank full: the eldest goes', ['base', 'sign_digits', 'shop', 'fashion_mnist', 'dtd10'])
    await fetch(`${url}/v1/domains/shop`, { method: 'DELETE' })
    await check('one deleted', ['base', 'sign_digits', 'fashion_mnist', 'dtd10'])
  })
}

t.test('a family without slots keeps account of no more rows than there can be domains', async (t) => {
  const dir = t.testdir({ family: {}, adapters: {}, data: {} })
  const net = new Network(8, {}, 3)
  net.linear('head', net.vector(net.relu(net.conv('stem', 'image', [3, 8]))), [8, 4])
  const built = await build(net.onnx(), { design: 'feature' })
  for (const [name, bytes] of built.files) writeFileSync(path.join(dir, 'family', name), bytes)
  const place = (name: string) => path.join(dir, name)
  const flags = ['--family', place('family'), '--adapters', place('adapters'), '--data', place('data')]
  const { url } = await runService(t, [...flags, '--bank-memory', '1GiB'])
  const { memory } = (await (await fetch(`${url}/v1/family`)).json()) as { memory: Memory }
  t.equal(memory.rows.capacity, 2 ** 30 / 4096)
})
