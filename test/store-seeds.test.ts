/** Shipped packs: read once, named by content, noticed when they change. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readSeeds } from '../src/store/seeds.js'
import { versionOf } from './store-history.js'

t.test('packs are read in order, with their versions; other files are ignored', async (t) => {
  const dir = t.testdir({ 'b-2.safetensors': 'two', 'a.safetensors': 'one', 'README.md': 'text' })
  const seeds = await readSeeds(dir)
  t.match(seeds, [
    { domain: 'a', version: versionOf(Buffer.from('one')), bytes: 3, path: join(dir, 'a.safetensors') },
    { domain: 'b-2', version: versionOf(Buffer.from('two')), bytes: 3 },
  ])
  t.equal(Buffer.from(await seeds[0]!.read()).toString(), 'one')
})

t.test('a folder that is missing has no seeds', async (t) => {
  t.strictSame(await readSeeds(join(t.testdir(), 'none')), [])
})

t.test('names that are no domain ids are refused', async (t) => {
  for (const name of ['Flowers.safetensors', '.safetensors', 'a b.safetensors']) {
    await t.rejects(
      readSeeds(t.testdir({ [name]: 'x' })),
      { code: 'bad_domain_id', message: /rename it/ },
      name,
    )
  }
})

t.test('packs that cannot be read are named', async (t) => {
  await t.rejects(readSeeds(t.testdir({ 'a.safetensors': {} })), {
    code: 'store_failed',
    message: /a\.safetensors/,
  })
  await t.rejects(readSeeds(join(t.testdir({ file: '' }), 'file')), { code: 'store_failed' })
})

t.test('a seed that changed or vanished since the start fails its domain', async (t) => {
  const dir = t.testdir({ 'a.safetensors': 'one', 'b.safetensors': 'two' })
  const [a, b] = await readSeeds(dir)
  await writeFile(a!.path, 'uno')
  await rm(b!.path)
  await t.rejects(a!.read(), { code: 'domain_failed', message: /changed/ })
  await t.rejects(b!.read(), { code: 'domain_failed', message: /ENOENT/ })
})
