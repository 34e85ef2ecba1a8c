/** Pages for browsers: which files are served, how, and what a page may do. */
import t from 'tap'
import { readPages } from '../src/http/pages/files.js'
import { testApp } from './http-app.js'

t.test('a browser gets the dashboard at /, everybody else the index', async (t) => {
  const { app } = await testApp(t, { pages: await readPages(), predictToken: 'reader', adminToken: 'admin' })
  const get = (accept?: string) => app.inject({ url: '/', headers: accept === undefined ? {} : { accept } })
  const page = await get('text/html,application/xhtml+xml;q=0.9,*/*;q=0.8')
  t.match(page, { statusCode: 200, headers: { 'content-type': 'text/html; charset=utf-8', vary: 'Accept' } })
  t.match(page.body, /<!doctype html>/)
  for (const accept of [undefined, '*/*', 'application/json'])
    t.match(await get(accept), { statusCode: 200, headers: { vary: 'Accept', 'content-type': /json/ } })
})

t.test('caches are told of the origin too, where pages of other sites may read the answers', async (t) => {
  const { app } = await testApp(t, {
    pages: await readPages(),
    config: { corsOrigins: ['https://a.example'] },
  })
  const page = await app.inject({ url: '/', headers: { accept: 'text/html' } })
  t.equal(page.headers.vary, 'Origin, Accept')
})

t.test('every file that a page or a module of it names is served, with its type', async (t) => {
  const files = await readPages()
  const { app } = await testApp(t, { pages: files })
  const seen = new Set<string>()
  const visit = async (path: string): Promise<void> => {
    if (seen.has(path)) return
    seen.add(path)
    const answer = await app.inject(path)
    if (!t.equal(answer.statusCode, 200, path)) return
    const type = path.endsWith('.css') ? 'text/css' : path.endsWith('.svg') ? 'image/svg' : 'text/javascript'
    t.ok(String(answer.headers['content-type']).startsWith(type), path)
    if (type !== 'text/javascript') return
    // Types in comments are imports of the checker alone.
    const code = answer.body.replace(/\/\*[\s\S]*?\*\//g, '')
    for (const [, name] of code.matchAll(/\b(?:from|import)\s*\(?["']([^"'\n]+)["']/g)) {
      t.match(name, /^\.\.?\//, `${path} imports ${name} by a path, as browsers need it`)
      await visit(new URL(name!, `http://host${path}`).pathname)
    }
  }
  const index = files.get('/dashboard/index.html')!.body.toString()
  const named = [...index.matchAll(/<(?:script|link)[^>]* (?:src|href)="([^"]+)"/g)].map(([, name]) => name!)
  t.ok(named.length >= 3)
  for (const name of named) await visit(new URL(name, 'http://host/').pathname)
  t.notMatch(index, /<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=/, 'nothing inline')
})

t.test('a page may load its own files and talk to its own service alone', async (t) => {
  const { app } = await testApp(t, { pages: await readPages() })
  for (const [url, accept] of [
    ['/', 'text/html'],
    ['/dashboard/app.js', '*/*'],
    ['/vendor/preact.js', '*/*'],
  ] as const) {
    const { headers } = await app.inject({ url, headers: { accept } })
    const policy = String(headers['content-security-policy'])
    const sources = policy.split(';').map((directive) => directive.trim().split(' ').slice(1).join(' '))
    t.strictSame([...new Set(sources)].sort(), ["'none'", "'self'"], url)
    t.match(policy, /default-src 'none'/)
    t.match(headers, { 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' }, url)
  }
})

t.test('a file that has not changed is not sent again, and what is no file is not found', async (t) => {
  const { app } = await testApp(t, { pages: await readPages() })
  const first = await app.inject('/vendor/htm.js')
  t.match(first.headers, { 'cache-control': 'no-cache', etag: /^"[0-9a-f]{64}"$/ })
  const again = await app.inject({
    url: '/vendor/htm.js',
    headers: { 'if-none-match': `"x", W/${String(first.headers.etag)}` },
  })
  t.match(again, { statusCode: 304, body: '', headers: { etag: first.headers.etag } })
  const other = await app.inject({ url: '/vendor/htm.js', headers: { 'if-none-match': '"x"' } })
  t.equal(other.statusCode, 200)
  for (const url of [
    '/dashboard/nothing.js',
    '/dashboard/..%2f..%2fpackage.json',
    '/dashboard/tsconfig.json',
    '/vendor/preact.d.ts',
    '/dashboard',
    '/dashboard/index.html',
    '/docs/index.html',
  ])
    t.match((await app.inject(url)).json(), { status: 404, code: 'not_found' }, url)
  t.equal((await app.inject({ method: 'POST', url: '/vendor/htm.js' })).statusCode, 405)
})

t.test('/docs: the description, shown by files of this service alone', async (t) => {
  const { app } = await testApp(t, { pages: await readPages(), openapi: { yaml: '', json: '{}' } })
  const page = await app.inject('/docs')
  t.match(page, { statusCode: 200, headers: { 'content-type': 'text/html; charset=utf-8' } })
  const policy = String(page.headers['content-security-policy'])
  t.match(policy, "script-src 'self'; style-src 'self'; img-src 'self' data:;")
  t.notMatch(
    page.body,
    /<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=|https?:/,
    'nothing inline, no other site',
  )
  const start = (await app.inject('/docs/start.js')).body
  const named = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, name]) => name!)
  for (const name of [...named, /url: '([^']+)'/.exec(start)![1]!])
    t.equal((await app.inject(`/${name}`)).statusCode, 200, name)
  t.match(start, 'validatorUrl: null', "Swagger UI's own would ask another site")
})
