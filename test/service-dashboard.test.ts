/** The dashboard in a browser, against the real service: what it shows, for everybody, and images tried. */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Locator } from 'playwright-core'
import t from 'tap'
import { axeFindings, noBrowser, openBrowser, openPage } from './browser.js'
import { choose, file, NONE, twoDomains } from './dashboard-rig.js'
import { family } from './engine-rig.js'
import { secondFamily } from './second-family.js'
import { packBytes, pngImage, put, runService } from './service-rig.js'

const answerOf = (within: Locator, domain: string) =>
  within
    .getByRole('listitem')
    .filter({ has: within.page().getByRole('heading', { name: domain, exact: true }) })

t.test('one look: domains, memory to scale, what happens now', { skip: noBrowser }, async (t) => {
  const { url } = await twoDomains(t)
  const { page, faults } = await openPage(t, await openBrowser(t))
  await page.goto(url)
  await page.getByRole('heading', { name: '3 domains on 1 frozen backbone' }).waitFor()
  const bars = page.locator('.bar-track')
  t.equal(await bars.count(), 2)
  const widths = async (bar: number) =>
    Promise.all(
      (await bars.nth(bar).locator('.segment').all()).map(
        async (segment) => (await segment.boundingBox())!.width,
      ),
    )
  const { families } = (await (await fetch(`${url}/v1/families`)).json()) as {
    families: {
      memory: { trunk_bytes: number; adapter_bytes: number; head_bytes: number; dedicated_bytes: number }
    }[]
  }
  const memory = families[0]!.memory
  const shared = await widths(0)
  const apart = await widths(1)
  t.same([shared.length, apart.length], [4, 3], 'trunk and three domains; three networks')
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
  const near = (found: number, expected: number, what: string) =>
    t.ok(Math.abs(found / expected - 1) < 0.02, `${what}: ${found} is ${expected}`)
  const ours = memory.trunk_bytes + memory.adapter_bytes + memory.head_bytes
  near(sum(apart) / sum(shared), memory.dedicated_bytes / ours, 'the bars have one scale')
  near(shared[0]! / sum(shared), memory.trunk_bytes / ours, 'the trunk has its part')

  for (let i = 0; i < 4; i++)
    await fetch(`${url}/v1/domains/cats/predict`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: await pngImage(i),
    })
  const row = page.getByRole('row').filter({ has: page.getByRole('rowheader', { name: 'cats' }) })
  await row.getByRole('cell', { name: '4', exact: true }).waitFor()
  await row.getByText('in memory').waitFor()
  const version = createHash('sha256').update(packBytes(0, 'cats')).digest('hex').slice(0, 12)
  await row.getByText(version).waitFor()
  await page
    .getByRole('listitem')
    .filter({ hasText: /^cats *100%$/ })
    .waitFor()
  t.equal(await page.locator('.chart canvas').count(), 2)

  await page.getByRole('searchbox', { name: 'Find a domain' }).fill('do')
  await page.getByRole('rowheader', { name: 'dogs' }).waitFor()
  t.equal(await row.count(), 0)
  t.same(faults, [])
})

t.test(
  'images are chosen, dropped, pasted or taken, for one domain or all',
  { skip: noBrowser },
  async (t) => {
    const { url } = await twoDomains(t)
    const { page, faults, requests } = await openPage(t, await openBrowser(t), { permissions: ['camera'] })
    await page.goto(`${url}/#/try`)
    await page.getByRole('option', { name: 'All 3 domains' }).waitFor({ state: 'attached' })
    await choose(
      page,
      'Choose images',
      file('one.png', await pngImage(1)),
      file('two.png', await pngImage(2)),
    )
    await page.getByText('6 answers.').waitFor()
    t.equal(
      requests.filter((request) => request.startsWith('POST /v1/predict')).length,
      2,
      'a request for each image',
    )
    const one = page.getByRole('article', { name: 'Answers for one.png' })
    for (const domain of ['base', 'cats', 'dogs']) await answerOf(one, domain).waitFor()
    await one.getByText('Inference').waitFor()

    await page.getByLabel('Domain').selectOption('cats')
    await page.getByText('2 answers.').waitFor()
    const scores = await answerOf(one, 'cats').locator('.scores li').allInnerTexts()
    const direct = await fetch(`${url}/v1/domains/cats/predict`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: await pngImage(1),
    })
    const { results } = (await direct.json()) as { results: { predictions: { label: string }[] }[] }
    t.same(
      scores.map((text) => text.split('\n')[0]),
      results[0]!.predictions.map(({ label }) => label),
      'the labels of the API, in its order',
    )

    /** An event with a file, as the browser makes it when a person drops or pastes one. */
    const give = async (event: string, name: string, bytes: Uint8Array) =>
      page.evaluate(`{
      const data = new DataTransfer()
      data.items.add(new File([Uint8Array.from(atob('${Buffer.from(bytes).toString('base64')}'), (c) => c.charCodeAt(0))], '${name}', { type: 'image/png' }))
      ${event}
    }`)
    await give(
      "document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))",
      'dropped.png',
      await pngImage(3),
    )
    await page.getByRole('article', { name: 'Answers for dropped.png' }).getByText('cats-').first().waitFor()
    await give(
      "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, cancelable: true }))",
      'pasted.png',
      await pngImage(4),
    )
    await page.getByRole('article', { name: 'Answers for pasted.png' }).getByText('cats-').first().waitFor()

    await page.getByRole('button', { name: 'Use the camera' }).click()
    const dialog = page.getByRole('dialog', { name: 'Camera' })
    await dialog.getByRole('button', { name: 'Take the picture' }).click()
    await page.getByRole('article', { name: 'Answers for camera.jpg' }).getByText('cats-').first().waitFor()
    t.equal(await dialog.count(), 0)

    await page.evaluate(
      "OffscreenCanvas.prototype.convertToBlob = () => Promise.reject(new Error('it is too large'))",
    )
    await page.getByRole('button', { name: 'Use the camera' }).click()
    await dialog.getByRole('button', { name: 'Take the picture' }).click()
    await dialog.getByRole('alert').getByText('it is too large').waitFor()
    await dialog.getByRole('button', { name: 'Cancel' }).click()
    await dialog.waitFor({ state: 'detached' })

    t.equal(
      await page.evaluate(
        "document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true }))",
      ),
      false,
      'a file that is dropped beside the box does not replace the page',
    )

    await choose(page, 'Choose images', file('broken.png', Buffer.from('no image')))
    await page.getByText('0 answers, 1 refused.').waitFor()
    await page.getByRole('article', { name: 'Answers for broken.png' }).getByText(/image/).first().waitFor()

    for (const [address, choice] of [
      ['#/try/dogs', 'dogs'],
      ['#/try', 'All 3 domains'],
    ]) {
      await page.goto(`${url}/${address}`)
      await page.locator('#domain option:checked', { hasText: choice! }).waitFor({ state: 'attached' })
    }
    t.same(faults, [])
  },
)

t.test(
  'axe finds nothing wrong, light and dark, and no view is wider than a phone',
  { skip: noBrowser },
  async (t) => {
    const folder = t.testdir()
    const second = await secondFamily(folder)
    const { url } = await runService(t, [
      ...NONE,
      '--family',
      family.dir,
      '--family',
      second.dir,
      '--data',
      join(folder, 'data'),
    ])
    t.equal((await put(url, 'cats', packBytes(1, 'cats'))).status, 201)
    const browser = await openBrowser(t)
    for (const colorScheme of ['light', 'dark'] as const) {
      const viewport = colorScheme === 'light' ? { width: 1440, height: 900 } : { width: 390, height: 844 }
      const { page, faults } = await openPage(t, browser, { colorScheme, viewport, reducedMotion: 'reduce' })
      await page.goto(url)
      await page.getByRole('heading', { name: /domains on 2 frozen backbones/ }).waitFor()
      t.equal(await page.locator('figure').count(), 2, 'a picture of each family')
      const check = async (view: string) => {
        t.same(await axeFindings(page), [], `${view}, ${colorScheme}`)
        const excess = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
        t.equal(excess, 0, `${view} is as wide as the window`)
      }
      await page.getByText('None in the last three minutes').or(page.locator('.mix-list')).first().waitFor()
      await check('overview')
      t.equal(
        await page.evaluate("getComputedStyle(document.querySelector('.segment')).transitionDuration"),
        '0s',
      )
      await page.goto(`${url}/#/try`)
      await page.getByRole('option', { name: /^All \d domains/ }).waitFor({ state: 'attached' })
      await choose(
        page,
        'Choose images',
        file('one.png', await pngImage(1)),
        file('no.png', Buffer.from('no')),
      )
      await page.getByText(/answers, \d refused/).waitFor()
      await check('try')
      await page.goto(`${url}/#/manage/cats`)
      await page.getByRole('heading', { name: 'Versions' }).waitFor()
      await check('manage')
      await page.getByRole('button', { name: 'Delete the domain' }).click()
      await check('a dialog')
      t.same(faults, [])
    }
  },
)

t.test(
  'everything can be done with the keyboard, and the focus can be followed',
  { skip: noBrowser },
  async (t) => {
    const { url } = await twoDomains(t)
    const { page, faults } = await openPage(t, await openBrowser(t))
    await page.goto(url)
    await page.getByRole('heading', { level: 1 }).waitFor()
    const focused = () =>
      page.evaluate(
        "(document.activeElement.textContent || document.activeElement.id || document.activeElement.getAttribute('aria-label') || '').trim()",
      )
    const tab = async () => {
      await page.keyboard.press('Tab')
      return focused()
    }
    const tabTo = async (name: string) => {
      for (let steps = 0; steps < 40; steps++) if ((await tab()) === name) return
      throw new Error(`${name} cannot be reached`)
    }
    t.equal(await tab(), 'Skip to the content')
    t.same(
      [await tab(), await tab(), await tab(), await tab(), await tab()],
      ['Facet', 'Overview', 'Try', 'Manage', 'Token'],
    )
    t.not(
      await page.evaluate('getComputedStyle(document.activeElement).outlineStyle'),
      'none',
      'the focus is seen',
    )

    await page.keyboard.press('Enter')
    const dialog = page.getByRole('dialog', { name: 'Token' })
    await dialog.waitFor()
    t.equal(await page.evaluate('document.activeElement.id'), 'token', "a dialog's field has the focus")
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
    t.equal(await focused(), 'Token', 'and the focus comes back')

    await page.keyboard.press('Shift+Tab')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Manage' }).waitFor()
    t.equal(await page.title(), 'Manage · Facet')
    t.equal(await page.evaluate('document.activeElement.id'), 'main', 'a new view is read from its beginning')
    await page.getByRole('link', { name: 'dogs' }).waitFor()
    await tabTo('dogs')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'Versions' }).waitFor()
    await tabTo('Pin in memory')
    await page.keyboard.press('Space')
    await page.getByRole('button', { name: 'Unpin' }).waitFor()
    const { pinned } = (await (await fetch(`${url}/v1/domains/dogs`)).json()) as { pinned: boolean }
    t.equal(pinned, true)
    t.same(faults, [])
  },
)

t.test('behind a proxy the page may have a path of its own', { skip: noBrowser }, async (t) => {
  const { url } = await twoDomains(t)
  const proxy = createServer(async (request, response) => {
    const path = /^\/facet(\/.*)$/.exec(request.url ?? '')?.[1]
    const accept = request.headers.accept ?? '*/*'
    const answer = path === undefined ? null : await fetch(`${url}${path}`, { headers: { accept } })
    response.writeHead(answer?.status ?? 404, {
      'content-type': answer?.headers.get('content-type') ?? 'text/plain',
    })
    response.end(answer === null ? '' : Buffer.from(await answer.arrayBuffer()))
  })
  await new Promise<void>((listening) => proxy.listen(0, '127.0.0.1', listening))
  t.teardown(() => proxy.close())
  const { page, faults } = await openPage(t, await openBrowser(t))
  await page.goto(`http://127.0.0.1:${(proxy.address() as AddressInfo).port}/facet/`)
  await page.getByRole('heading', { name: '3 domains on 1 frozen backbone' }).waitFor()
  await page.getByRole('rowheader', { name: 'cats' }).waitFor()
  t.same(faults, [])
})
