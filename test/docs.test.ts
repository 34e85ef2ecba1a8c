/** The pages hang together: links lead somewhere, indexes are whole, and the table of rooms is the one that holds. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'

const root = resolve('.')
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const list = (folder: string, suffix: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name).replaceAll('\\', '/'))
    .filter((name) => name.endsWith(suffix))

const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...list('docs', '.md'),
  'training/README.md',
  'bench/race/README.md',
]

/** A heading as code hosts name it in links. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
const anchors = (page: string) => [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchor(heading!))

t.test('links between pages lead somewhere', async (t) => {
  for (const page of pages)
    for (const [, link] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue
      const [path, section] = link!.split('#')
      const target = path === '' ? page : join(dirname(page), path!)
      if (!existsSync(join(root, target))) t.fail(`${page}: ${link}`)
      else if (section && !anchors(read(target)).includes(section))
        t.fail(`${page}: ${link}, no such heading`)
    }
})

t.test('pages that the code names, and files that pages name, exist', async (t) => {
  const code = ['src', 'test', 'bench'].flatMap((folder) => list(folder, '.ts'))
  for (const file of [...code, ...list('training', '.py'), ...pages, 'Dockerfile', 'openapi.yaml'])
    for (const [name] of read(file).matchAll(/\bdocs\/[\w/-]+\.md\b/g))
      if (!existsSync(join(root, name))) t.fail(`${file}: ${name}`)
  // Experiments and old versions speak of the tree of their day.
  for (const page of pages.filter((page) => !page.startsWith('docs/experiments/') && page !== 'CHANGELOG.md'))
    for (const [, path] of read(page).matchAll(/`((?:src|test|bench)\/[\w./-]+)`/g))
      if (!existsSync(join(root, path!))) t.fail(`${page}: ${path}`)
})

t.test('every decision and experiment has its form and is in the index', async (t) => {
  const forms = {
    'docs/decisions': { name: /^\d{4}-[a-z0-9-]+\.md$/, headings: ['context', 'decision', 'consequences'] },
    'docs/experiments': {
      name: /^\d{4}-\d\d-\d\d-[a-z0-9-]+\.md$/,
      headings: ['question', 'prediction', 'method', 'figures', 'decision'],
    },
  }
  for (const [folder, { name, headings }] of Object.entries(forms)) {
    const index = read(`${folder}/README.md`)
    for (const file of readdirSync(join(root, folder)).filter((file) => file !== 'README.md')) {
      t.match(file, name)
      t.ok(index.includes(`](${file})`), `${folder}/README.md names ${file}`)
      t.same(anchors(read(`${folder}/${file}`)).slice(1), headings, `headings of ${file}`)
    }
  }
})

t.test('the rooms of the architecture page are those of the import test, with the same arrows', async (t) => {
  const test = read('test/imports.test.ts')
  const start = test.indexOf('const rooms')
  const table = test.slice(start, test.indexOf('\n]\n', start))
  const tested = [...table.matchAll(/\[\s*'([^']+)',\s*'([^']*)',?\s*\]/g)].map(([, room, may]) => [
    room,
    may,
  ])
  const [, section] = /^## The rooms$(.*?)^## /ms.exec(read('docs/architecture.md'))!
  const shown = [...section!.matchAll(/^\| `(.+?)` \|.*\|(.*)\|$/gm)].map(([, room, may]) => [
    room!.replace(/\.ts$/, ''),
    may!.replaceAll(',', '').trim(),
  ])
  t.same(shown, tested)
  t.ok(tested.length > 20)
})
