/** The dashboard in a browser: changes, tokens, and text that somebody else has written. */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writePack } from '../src/pack/write.js'
import { noBrowser, openBrowser, openPage } from './browser.js'
import { choose, file, NONE } from './dashboard-rig.js'
import { family, randomPack } from './engine-rig.js'
import { packBytes, pngImage, put, runService } from './service-rig.js'

t.test(
  'packs and versions are managed, with a token that is in no storage',
  { skip: noBrowser },
  async (t) => {
    const token = 'a-token-for-this-test-0123456789'
    const folder = t.testdir()
    const tokens = join(folder, 'tokens.jsonl')
    const line = { id: 'ops', sha256: createHash('sha256').update(token).digest('hex'), scopes: ['admin'] }
    writeFileSync(tokens, JSON.stringify(line))
    const { url } = await runService(t, [...NONE, '--token-file', tokens, '--data', join(folder, 'data')])
    const { page, faults, requests } = await openPage(t, await openBrowser(t))
    await page.goto(`${url}/#/manage`)
    const register = async (name: string, bytes: Uint8Array) => {
      await choose(page, 'Choose a pack file', file(name, bytes, 'application/octet-stream'))
      await page.getByRole('button', { name: 'Register' }).click()
    }
    await register('Birds.safetensors', packBytes(5, 'birds'))
    const refused = page.getByRole('alert')
    await refused.getByText('Send a token').waitFor()
    await refused.getByRole('button', { name: 'Give a token' }).click()
    const dialog = page.getByRole('dialog', { name: 'Token' })
    await dialog.getByLabel('Token', { exact: true }).fill(token)
    await dialog.getByRole('button', { name: 'Use it' }).click()
    t.equal(await page.getByLabel('Domain', { exact: true }).inputValue(), 'birds', "made of the file's name")
    await page.getByRole('button', { name: 'Register' }).click()
    await page.getByText('is a new domain').waitFor()

    await register('birds.safetensors', packBytes(5, 'birds').slice(0, 5000))
    await refused.getByText(/pack/i).first().waitFor()
    t.equal(
      await page.getByLabel('Domain', { exact: true }).inputValue(),
      'birds',
      'nothing is lost by a refusal',
    )
    await register('birds.safetensors', packBytes(6, 'birds'))
    await page.getByText('has a new active version').waitFor()

    await page.getByRole('link', { name: 'birds' }).first().click()
    const panel = page.getByRole('region', { name: 'birds' })
    const versions = panel.getByRole('list', { name: 'Versions' }).getByRole('listitem')
    const [first, second] = [5, 6].map((seed) =>
      createHash('sha256').update(packBytes(seed, 'birds')).digest('hex').slice(0, 12),
    )
    await versions.filter({ hasText: second! }).getByText('active', { exact: true }).waitFor()
    await panel.getByRole('button', { name: `Roll back to ${first}` }).click()
    await versions.filter({ hasText: first! }).getByText('active', { exact: true }).waitFor()
    await panel.getByRole('button', { name: `Activate to ${second}` }).waitFor()

    await panel.getByRole('button', { name: 'Pin in memory' }).click()
    await panel.getByText('pinned', { exact: true }).waitFor()
    await panel.getByRole('button', { name: 'Unpin' }).click()
    await panel.getByRole('button', { name: 'Pin in memory' }).waitFor()

    await panel.getByRole('button', { name: `Delete version ${second}` }).click()
    await page.getByRole('dialog', { name: 'Delete?' }).getByRole('button', { name: 'Keep' }).click()
    t.equal(await versions.count(), 2)
    await panel.getByRole('button', { name: `Delete version ${second}` }).click()
    await page.getByRole('dialog', { name: 'Delete?' }).getByRole('button', { name: 'Delete' }).click()
    await versions.filter({ hasText: second! }).waitFor({ state: 'detached' })

    const kept = await page.evaluate(
      `Promise.all([indexedDB.databases(), caches.keys()]).then((stores) => JSON.stringify([
      { ...localStorage }, { ...sessionStorage }, document.cookie, history.state, location.href, stores,
      document.documentElement.outerHTML]))`,
    )
    t.notMatch(String(kept), token)
    t.notOk(requests.some((request) => request.includes(token)))

    await panel.getByRole('button', { name: 'Delete the domain' }).click()
    await page.getByRole('dialog', { name: 'Delete?' }).getByRole('button', { name: 'Delete' }).click()
    await page.getByText('birds is deleted.').waitFor()
    t.equal((await fetch(`${url}/v1/domains/birds`)).status, 404)

    await page.goto(`${url}/#/manage/base`)
    await page.reload()
    await page
      .getByRole('button', { name: 'Pin in memory' })
      .or(page.getByRole('button', { name: 'Unpin' }))
      .click()
    await refused.getByText('Send a token').waitFor()
    t.same(faults, [])
  },
)

t.test('what packs and clients say stays text', { skip: noBrowser }, async (t) => {
  const { url } = await runService(t, NONE)
  const hostile = '<img src=x onerror=alert(1)><script>alert(2)</script>'
  const labels = [hostile, '"><svg onload=alert(3)>', 'javascript:alert(4)', '{{alert(5)}}', '\u202eesrever']
  const { name: _, ...pack } = randomPack(9, labels.length)
  const about = { name: hostile, description: hostile, license: hostile, metrics: { accuracy: hostile } }
  const bytes = writePack({ ...pack, ...about, labels }, family.manifest, { dtype: 'f16' })
  t.equal((await put(url, 'hostile', bytes as Uint8Array<ArrayBuffer>)).status, 201)
  const { page, faults } = await openPage(t, await openBrowser(t))
  const nothingMade = async () =>
    t.equal(await page.locator('main img, main script, main svg[onload], [onerror]').count(), 0)
  await page.goto(url)
  await page.getByRole('rowheader', { name: 'hostile' }).waitFor()
  await nothingMade()
  await page.goto(`${url}/#/try/hostile`)
  await choose(page, 'Choose images', file(`${hostile.replaceAll('/', '')}.png`, await pngImage(1)))
  await page.getByText(hostile, { exact: true }).first().waitFor()
  await nothingMade()
  await page.goto(`${url}/#/manage/hostile`)
  await page.getByRole('heading', { name: 'Versions' }).waitFor()
  await nothingMade()
  await page.goto(`${url}/#/manage/${encodeURIComponent(hostile)}`)
  await page.getByRole('alert').waitFor()
  await nothingMade()
  t.same(faults, [])
})

t.test(
  'where everything needs a token the page asks for one, and shows what that may see',
  { skip: noBrowser },
  async (t) => {
    const folder = t.testdir()
    const given = { cats: 'predict', prometheus: 'metrics', ops: 'admin' }
    const token = (id: string) => `a-token-of-${id}-0123456789`
    const lines = Object.entries(given).map(([id, scope]) => ({
      id,
      sha256: createHash('sha256').update(token(id)).digest('hex'),
      scopes: [scope],
      ...(id === 'cats' && { domains: ['cats'] }),
    }))
    const tokens = join(folder, 'tokens.jsonl')
    writeFileSync(tokens, lines.map((line) => JSON.stringify(line)).join('\n'))
    const { url } = await runService(t, [...NONE, '--token-file', tokens, '--data', join(folder, 'data')])
    for (const [seed, domain] of ['cats', 'dogs'].entries()) {
      const headers = { 'content-type': 'application/octet-stream', authorization: `Bearer ${token('ops')}` }
      const body = packBytes(seed, domain)
      t.equal((await fetch(`${url}/v1/domains/${domain}`, { method: 'PUT', headers, body })).status, 201)
    }
    const { page, faults, requests } = await openPage(t, await openBrowser(t))
    const asked = (path: string) => requests.filter((request) => request === `GET ${path}`).length
    await page.goto(url)
    const focused = () => page.evaluate('document.activeElement.textContent.trim()')
    const giveToken = async (id: string) => {
      const dialog = page.getByRole('dialog', { name: 'Token' })
      await dialog.getByLabel('Token', { exact: true }).fill(token(id))
      await dialog.getByRole('button', { name: 'Use it' }).click()
    }
    await page.getByRole('alert').getByRole('button', { name: 'Give a token' }).click()
    await giveToken('cats')
    await page.getByRole('heading', { name: '1 domain on 1 frozen backbone' }).waitFor()
    await page.getByText("does not have the scope 'metrics'").waitFor()
    const refusals = asked('/metrics')
    for (let round = 0; round < 2; round++) await page.waitForRequest(/families/)
    t.equal(asked('/metrics'), refusals, 'what is refused is not asked for again and again')
    t.equal(await page.getByText('dogs').count(), 0)

    await page.getByRole('button', { name: 'Token given' }).click()
    const dialog = page.getByRole('dialog', { name: 'Token' })
    await dialog.getByLabel('Token', { exact: true }).fill('a\u2013token')
    await dialog.getByRole('button', { name: 'Use it' }).click()
    await dialog.getByRole('alert').getByText('U+2013').waitFor()
    await giveToken('ops')
    await dialog.waitFor({ state: 'detached' })
    t.equal(await focused(), 'Token given', 'the focus goes back to where it came from')
    await page.getByRole('heading', { name: '3 domains on 1 frozen backbone' }).waitFor()
    await page.getByText("does not have the scope 'metrics'").waitFor({ state: 'detached' })
    t.same(faults, [])
  },
)
