/** Shipped packs: read once, versioned by content; later changes of their files are noticed. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readSeeds } from '../src/store/seeds.js'
import { versionOf } from './store-history.js'

/** Packs are plain text here: the name of their design. */
const describe = (bytes: Uint8Array) => {
  if (bytes.length !== 3) throw new Error('not three letters')
  return { design: Buffer.from(bytes).toString(), classes: 3, created: '' }
}

t.test('packs are read in order, with their versions; other files are ignored', async (t) => {
  const dir = t.testdir({ 'b-2.safetensors': 'two', 'a.safetensors': 'one', 'README.md': 'text' })
  const seeds = await readSeeds(dir, describe)
  t.match(seeds, [
    {
      domain: 'a',
      record: { version: versionOf(Buffer.from('one')), bytes: 3, design: 'one', classes: 3, seed: true },
      path: join(dir, 'a.safetensors'),
    },
    { domain: 'b-2', record: { version: versionOf(Buffer.from('two')), bytes: 3, design: 'two' } },
  ])
  t.equal(Buffer.from(await seeds[0]!.read()).toString(), 'one')
})

t.test('a folder that is missing has no seeds', async (t) => {
  t.strictSame(await readSeeds(join(t.testdir(), 'none'), describe), [])
})

t.test('names that are not domain ids are refused', async (t) => {
  for (const name of ['Flowers.safetensors', '.safetensors', 'a b.safetensors']) {
    await t.rejects(
      readSeeds(t.testdir({ [name]: 'x' }), describe),
      { code: 'bad_domain_id', message: /rename it/ },
      name,
    )
  }
})

t.test('packs that cannot be read are named', async (t) => {
  await t.rejects(readSeeds(t.testdir({ 'a.safetensors': {} }), describe), {
    code: 'store_failed',
    message: /a\.safetensors/,
  })
  await t.rejects(readSeeds(join(t.testdir({ file: '' }), 'file'), describe), { code: 'store_failed' })
})

t.test('a seed that changed or vanished since the start fails its domain', async (t) => {
  const dir = t.testdir({ 'a.safetensors': 'one', 'b.safetensors': 'two' })
  const [a, b] = await readSeeds(dir, describe)
  await writeFile(a!.path, 'uno')
  await rm(b!.path)
  await t.rejects(a!.read(), { code: 'domain_failed', message: /changed/ })
  await t.rejects(b!.read(), { code: 'domain_failed', message: /ENOENT/ })
})

t.test('a file that is not a pack is listed with the reason', async (t) => {
  const [bad] = await readSeeds(t.testdir({ 'bad.safetensors': 'three' }), describe)
  t.match(bad, {
    domain: 'bad',
    record: { bytes: 5, design: 'unknown', classes: 0 },
    failure: /three letters/,
  })
})
