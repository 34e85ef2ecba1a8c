import t from 'tap'
import { image, multipart, pack, sha256, testApp } from './http-app.js'
import { until } from './until.js'

const raw = { 'content-type': 'application/octet-stream' }
const old = sha256(pack(['red', 'green', 'blue']))
const next = pack(['cyan', 'magenta', 'yellow'])

t.test('a new domain is created, and serves from then on', async (t) => {
  const { app } = await testApp(t)
  const bytes = pack(['cat', 'dog'])
  const put = await app.inject({ method: 'PUT', url: '/v1/domains/pets', headers: raw, payload: bytes })
  t.equal(put.statusCode, 201)
  t.equal(put.headers.location, '/v1/domains/pets')
  t.equal(put.headers.etag, `"${sha256(bytes)}"`)
  t.match(put.json(), { domain: 'pets', version: sha256(bytes), uploaded: sha256(bytes), classes: 2 })

  const answer = await app.inject({
    method: 'POST',
    url: '/v1/domains/pets/predict',
    headers: raw,
    payload: image(1),
  })
  t.equal(answer.json().results[0].predictions[0].label, 'dog')
})

t.test('a PUT over a domain answers 200 and switches; the same bytes again are 200 and active', async (t) => {
  const { app } = await testApp(t)
  for (const bytes of [next, next, pack(['red', 'green', 'blue'])]) {
    const put = await app.inject({ method: 'PUT', url: '/v1/domains/colours', headers: raw, payload: bytes })
    t.equal(put.statusCode, 200)
    t.equal(put.json().version, sha256(bytes))
  }
})

t.test('a pack may come as the multipart part `pack`, and only as that', async (t) => {
  const { app } = await testApp(t)
  const put = (parts: Parameters<typeof multipart>[0]) =>
    app.inject({ method: 'PUT', url: '/v1/domains/pets', ...multipart(parts) })
  t.equal((await put([{ name: 'pack', bytes: next }])).statusCode, 201)
  t.match((await put([{ name: 'file', bytes: next }])).json(), { status: 400, code: 'malformed_request' })
  t.match((await put([{ name: 'pack', bytes: Buffer.alloc(0) }])).json(), { code: 'empty_body' })
  t.match(
    (
      await put([
        { name: 'pack', bytes: next },
        { name: 'pack', bytes: next },
      ])
    ).json(),
    { status: 400, code: 'malformed_request', detail: /one part, and its name is 'pack'/ },
  )
})

t.test('?activate=false stages: the old version serves, the tag stays', async (t) => {
  const { app } = await testApp(t)
  const put = await app.inject({
    method: 'PUT',
    url: '/v1/domains/colours?activate=false',
    headers: raw,
    payload: next,
  })
  t.equal(put.statusCode, 200)
  t.equal(put.headers.etag, `"${old}"`)
  t.match(put.json(), { version: old, uploaded: sha256(next) })

  const activated = await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/activate',
    payload: { version: sha256(next).slice(0, 12) },
  })
  t.equal(activated.statusCode, 200)
  t.equal(activated.headers.etag, `"${sha256(next)}"`)

  const versions = await app.inject('/v1/domains/colours/versions')
  t.match(versions.json(), {
    domain: 'colours',
    version: sha256(next),
    versions: [
      { version: old, active: false },
      { version: sha256(next), active: true },
    ],
  })
})

t.test('an invalid pack lists every problem and changes nothing', async (t) => {
  const { app } = await testApp(t)
  const put = await app.inject({
    method: 'PUT',
    url: '/v1/domains/colours',
    headers: raw,
    payload: 'no pack',
  })
  t.equal(put.statusCode, 422)
  t.match(put.json(), { code: 'invalid_pack', problems: ['header: not JSON', 'tensors: none'] })
  t.equal((await app.inject('/v1/domains/colours')).json().version, old)
})

t.test('preconditions', async (t) => {
  const { app } = await testApp(t)
  const put = async (headers: Record<string, string>, url = '/v1/domains/colours') =>
    (await app.inject({ method: 'PUT', url, headers: { ...raw, ...headers }, payload: next })).statusCode
  t.equal(await put({ 'if-none-match': '*' }), 412, 'the domain is there')
  t.equal(await put({ 'if-match': `"${'0'.repeat(64)}"` }), 412, 'another version')
  t.equal(await put({ 'if-match': `W/"${old}"` }), 412, 'a weak tag never matches')
  t.equal(await put({ 'if-match': '' }), 400, 'an empty list')
  t.equal(await put({ 'if-match': '*' }, '/v1/domains/new'), 412, 'there is nothing to match')
  t.equal(await put({ 'if-match': old }), 400, 'a tag without quotes')
  t.equal(await put({ 'if-match': `"a" "${old}"` }), 400, 'no comma')
  t.equal((await app.inject('/v1/domains/colours')).json().version, old, 'nothing changed')
  t.equal(await put({ 'if-match': `"x", "a,b" ,W/"y","${old}"` }), 200, 'one of a list')
  t.equal(await put({ 'if-none-match': '*' }, '/v1/domains/new'), 201)

  const now = `"${sha256(next)}"`
  const remove = async (headers: Record<string, string>) =>
    (await app.inject({ method: 'DELETE', url: '/v1/domains/colours', headers })).statusCode
  t.equal(await remove({ 'if-match': `"${old}"` }), 412)
  const patch = (tag: string) =>
    app.inject({
      method: 'PATCH',
      url: '/v1/domains/colours',
      headers: { 'if-match': tag },
      payload: { pinned: true },
    })
  t.equal((await patch(`"${old}"`)).statusCode, 412)
  t.match((await patch(now)).json(), { pinned: true })
  const activate = (tag: string) =>
    app.inject({
      method: 'POST',
      url: '/v1/domains/colours/activate',
      headers: { 'if-match': tag },
      payload: { version: old },
    })
  t.equal((await activate(`"${old}"`)).statusCode, 412)
  t.equal((await activate(now)).statusCode, 200)
  t.equal(await remove({ 'if-match': `"${old}"` }), 204)
})

t.test('GET of a pack answers its bytes and its tag, and 304 to a client that has it', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('colours', next, { activate: false })
  const active = await app.inject('/v1/domains/colours/pack')
  t.strictSame(active.rawPayload, pack(['red', 'green', 'blue']))
  t.equal(active.headers.etag, `"${old}"`)
  t.equal(active.headers['content-type'], 'application/octet-stream')
  t.equal(active.headers['cache-control'], 'private, no-cache', 'may be kept, to be asked for with its tag')
  t.match(active.headers['content-disposition'], `colours-${old.slice(0, 12)}.safetensors`)

  const staged = await app.inject(`/v1/domains/colours/pack?version=${sha256(next)}`)
  t.strictSame(staged.rawPayload, next)
  t.equal(staged.headers.etag, `"${sha256(next)}"`, 'its own tag, not the active one')

  const read = domains.packsRead
  for (const tag of [`"${old}"`, `W/"${old}"`, `"x", "${old}"`, '*']) {
    const again = await app.inject({ url: '/v1/domains/colours/pack', headers: { 'if-none-match': tag } })
    t.equal(again.statusCode, 304, tag)
    t.equal(again.body, '')
    t.equal(again.headers.etag, `"${old}"`)
    t.equal(again.headers['cache-control'], 'private, no-cache')
  }
  t.equal(domains.packsRead, read, 'the bytes are not read for that')
  const other = await app.inject({ url: '/v1/domains/colours/pack', headers: { 'if-none-match': '"x"' } })
  t.equal(other.statusCode, 200)
  const moved = await app.inject({ url: '/v1/domains/colours/pack', headers: { 'if-match': '"x"' } })
  t.equal(moved.statusCode, 412)
  t.equal(moved.headers['cache-control'], 'no-store')
})

t.test('DELETE of a domain and of a version', async (t) => {
  const { app, domains } = await testApp(t)
  await domains.put('colours', next, { activate: true })
  const remove = (url: string) => app.inject({ method: 'DELETE', url })
  const active = await remove(`/v1/domains/colours/versions/${sha256(next)}`)
  t.match(active.json(), { status: 409, code: 'version_active' })
  const version = await remove(`/v1/domains/colours/versions/${old}`)
  t.equal(version.statusCode, 204)
  t.equal(version.headers.etag, `"${sha256(next)}"`)
  t.equal((await remove('/v1/domains/colours/versions/../../x')).statusCode, 404)
  t.equal((await remove('/v1/domains/colours/versions/NOTHEX')).statusCode, 400)
  t.equal((await remove('/v1/domains/colours')).statusCode, 204)
  t.equal((await remove('/v1/domains/colours')).statusCode, 404)
  t.equal((await app.inject('/v1/domains/colours')).statusCode, 404)
  t.match((await remove('/v1/domains/base')).json(), { status: 409, code: 'base_immutable' })
})

t.test('the list is paged', async (t) => {
  const { app, domains } = await testApp(t)
  for (const id of ['a', 'b', 'c']) await domains.put(id, next, { activate: true })
  const seen: string[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const answer = await app.inject(`/v1/domains?limit=2${cursor && `&cursor=${cursor}`}`)
    const page: { domains: { domain: string }[]; next_cursor: string | null } = answer.json()
    t.ok(page.domains.length <= 2)
    seen.push(...page.domains.map(({ domain }) => domain))
    cursor = page.next_cursor
  }
  t.strictSame(seen, ['a', 'b', 'c', 'colours', 'shapes'])
  for (const limit of ['0', '1001', 'x'])
    t.match((await app.inject(`/v1/domains?limit=${limit}`)).json(), { code: 'bad_parameter' })
})

t.test('bad bodies and parameters of changes are refused', async (t) => {
  const { app } = await testApp(t)
  const send = async (method: 'PUT' | 'POST' | 'PATCH', url: string, rest: object) =>
    (await app.inject({ method, url, ...rest })).json().code
  const domain = '/v1/domains/colours'
  t.equal(await send('PUT', domain, { headers: raw, payload: '' }), 'empty_body')
  t.equal(await send('PUT', domain, {}), 'empty_body')
  t.equal(
    await send('PUT', domain, { headers: { 'content-type': 'image/png' }, payload: 'x' }),
    'unsupported_media_type',
  )
  t.equal(await send('PUT', domain, { payload: { path: '/etc/passwd' } }), 'unsupported_media_type')
  t.equal(await send('PUT', domain, { headers: raw, payload: Buffer.alloc(9000) }), 'body_too_large')
  t.equal(await send('PUT', `${domain}?activate=yes`, { headers: raw, payload: next }), 'bad_parameter')
  t.equal(
    await send('PUT', '/v1/domains/%2e%2e%2f%2e%2e%2fetc', { headers: raw, payload: next }),
    'bad_domain_id',
  )
  t.equal(await send('PUT', '/v1/domains/.hidden', { headers: raw, payload: next }), 'bad_domain_id')
  t.equal(await send('POST', `${domain}/activate`, { payload: { version: 'latest' } }), 'bad_parameter')
  t.equal(await send('POST', `${domain}/activate`, { payload: { version: 7 } }), 'bad_parameter')
  t.equal(await send('POST', `${domain}/activate`, { payload: {} }), 'malformed_request')
  t.equal(await send('PATCH', domain, { payload: { pinned: 'yes' } }), 'malformed_request')
  t.equal(await send('PATCH', domain, { payload: { pinned: true, version: 'x' } }), 'malformed_request')
  t.equal(await send('PATCH', domain, { payload: { pinned: 'x'.repeat(20_000) } }), 'body_too_large')
  t.equal((await app.inject(domain)).json().version, old)
})

t.test('uploads at once are bounded, and a slot comes free', async (t) => {
  const { app, domains } = await testApp(t)
  let open = () => {}
  domains.gate = new Promise((resolve) => {
    open = resolve
  })
  const put = (id: string) =>
    app.inject({ method: 'PUT', url: `/v1/domains/${id}`, headers: raw, payload: next })
  const held = [put('a'), put('b')].map((answer) => answer.then(({ statusCode }) => statusCode))
  await until(() => domains.active >= 2)
  const third = await put('c')
  t.equal(third.statusCode, 429)
  t.equal(third.json().code, 'too_many_uploads')
  t.equal(third.headers['retry-after'], '1')
  open()
  t.strictSame(await Promise.all(held), [201, 201])
  t.equal((await put('c')).statusCode, 201)
  for (let i = 0; i < 3; i++) {
    const refused = await app.inject({ method: 'PUT', url: '/v1/domains/d', headers: raw, payload: '' })
    t.equal(refused.statusCode, 400, 'a refused upload gives its slot back')
  }
})
